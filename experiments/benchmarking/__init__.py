"""What the bench_ commands are made of."""
