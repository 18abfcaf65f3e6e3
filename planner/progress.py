"""Defines progress whose end is known; it imports nothing, since every command reads it when it starts."""

from __future__ import annotations


class Advance(str):
    """A line of text about what takes long, which also says how far it is; at a terminal it is drawn as a bar.

    Args:
        text: The line.
        done: Number of pieces of the work that are done.
        total: Number of all pieces; 0 says that the work is over.
    """

    done: int
    total: int

    def __new__(cls, text: str, done: int, total: int) -> Advance:
        """Returns the line."""
        line = super().__new__(cls, text)
        line.done, line.total = done, total
        return line
