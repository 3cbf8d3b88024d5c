"""One search: its job, its loop, the study it asks, how a level is measured and recorded."""
