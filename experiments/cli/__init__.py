"""The command line: flags as typed objects, and what every command shares."""
