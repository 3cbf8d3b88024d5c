"""From stored generations to findings, each with its uncertainty. No model is needed."""
