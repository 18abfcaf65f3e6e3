"""Holds what readers of programs with a step of their own share."""

from __future__ import annotations

from planner.readers.documents.reading import Reading


def refuse_step(reading: Reading, program: str, what: str) -> None:
    """Refuses to plan a run whose step the memory model does not derive.

    Args:
        reading: What was read.
        program: Name of the program.
        what: What its step does in its own way.
    """
    reading.refuse(f"a step of {program}'s own, which is not derived: {what}")
