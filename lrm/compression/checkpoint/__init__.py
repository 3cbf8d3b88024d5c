"""Checkpoints on disk: opened, made in a staging folder, named module by module."""
