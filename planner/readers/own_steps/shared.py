"""Holds what readers of programs with a step of their own share."""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.reading import Reading
from strategies import Batching


def refuse_step(reading: Reading, program: str, what: str) -> None:
    """Refuses to plan a run whose step the memory model does not derive.

    Args:
        reading: What was read.
        program: Name of the program.
        what: What its step does in its own way.
    """
    reading.refuse(f"a step of {program}'s own, which is not derived: {what}")


def read_packing(keys: Keys, name: str, otherwise: str) -> None:
    """Says whether samples are packed into rows; else they are padded to the longest of a batch.

    Args:
        keys: The keys.
        name: The key that switches packing on.
        otherwise: The source of the default, where the key is missing.
    """
    packs, place = keys.flag(name), keys.place(name)
    keys.reading.say("batching", Batching.PACKED if packs else Batching.PADDED, place, "" if place else otherwise)
