"""Pruning: SparseGPT, Wanda and magnitude, many sparsities at once."""
