"""Says which keys the programs with the longest tables have, one program a module."""
