"""Studies and runs of several teams side by side."""
