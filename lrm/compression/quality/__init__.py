"""How good a compressed model is without asking it anything: perplexity, output error."""
