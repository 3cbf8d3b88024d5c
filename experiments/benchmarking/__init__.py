"""The work of the bench_ commands: models with random weights, stopwatches, and what is measured
against."""
