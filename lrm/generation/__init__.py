"""Asking a model: every reply once, every smaller budget from it."""
