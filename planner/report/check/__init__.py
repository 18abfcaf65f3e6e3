"""Renders the answer of `check`: the verdict, the settings that decide it, changes of the files, and what was read."""
