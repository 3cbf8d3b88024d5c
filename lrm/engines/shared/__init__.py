"""What engines have in common. Imports no engine."""
