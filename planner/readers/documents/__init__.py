"""Reads one file as its program does: its language, keys with their places, and how its text is changed."""
