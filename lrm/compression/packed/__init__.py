"""AWQ and GPTQ: made by llm-compressor, measured from their bytes."""
