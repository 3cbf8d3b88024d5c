"""The transformers engine: continuous batching on a CPU or one GPU."""
