"""The frozen facts that every part of the project exchanges. Standard library only."""
