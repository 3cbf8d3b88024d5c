"""GGUF files: written, quantized by recipes, measured."""
