"""Reads which segments torch's allocator has, from the environment that a launch script sets.

Source: torch 2.13, c10/core/AllocatorConfig.cpp: PYTORCH_ALLOC_CONF, and PYTORCH_CUDA_ALLOC_CONF before.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from planner.readers.documents.interpolation import is_open
from planner.readers.documents.reading import Reading
from planner.readers.documents.source import Source
from strategies import Allocator

VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
_EXPANDS = re.compile(r"expandable_segments\s*:\s*(true|1)\b", re.IGNORECASE)


def is_set_in(source: Source) -> bool:
    """Returns whether a script sets one of the variables, to whatever it is."""
    return any(name in source.environment for name in VARIABLES)


def read_allocator(reading: Reading, sources: Iterable[Source]) -> None:
    """Says the kind of segments where a script sets one of the variables, whose default is native ones.

    What only running the script would say stays open.
    """
    for source in sources:
        for entry in (source.environment[name] for name in VARIABLES if name in source.environment):
            if not is_open(entry.value):
                kind = Allocator.EXPANDABLE if _EXPANDS.search(str(entry.value)) else Allocator.NATIVE
                reading.say("allocator", kind, entry.place)
            return
