"""What each kind of search prints and stores at its end."""
