"""A model that is read block by block, and what its layers see."""
