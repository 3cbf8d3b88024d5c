"""Replies made elsewhere: graded, recorded and shown."""
