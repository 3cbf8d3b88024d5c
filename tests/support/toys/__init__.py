"""The smallest benchmark, pruner, quantizer and engine: what adding one takes."""
