"""From replies to scores: the stored row, and the one way from rows to numbers."""
