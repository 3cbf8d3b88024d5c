"""The llama.cpp engine, for GGUF files."""
