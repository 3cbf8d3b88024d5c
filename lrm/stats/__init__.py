"""Statistics: intervals, paired tests, the bootstrap, the Pareto front."""
