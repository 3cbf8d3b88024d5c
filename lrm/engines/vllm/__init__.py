"""The vLLM engine, in processes of its own."""
