"""Stored runs as variants, and the report on them."""
