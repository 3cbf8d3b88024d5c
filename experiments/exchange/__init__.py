"""Studies and imports, carried from one store to another in a file."""
