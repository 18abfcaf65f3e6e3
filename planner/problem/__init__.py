"""From what a caller says to what is searched."""
