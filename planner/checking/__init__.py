"""Checks training runs that exist already: what their files say, and whether it fits."""
