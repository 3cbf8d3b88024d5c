"""Side by side: studies and runs of several teams, and compression methods on one model."""
