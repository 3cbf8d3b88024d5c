"""From the name of a model to a checkpoint that an engine can run."""
