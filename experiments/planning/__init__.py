"""What a large model would take, by arithmetic."""
