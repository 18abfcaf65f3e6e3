"""Says how many processes may share a piece of work."""

from __future__ import annotations

import multiprocessing
import os
import sys


def forked(tasks: int) -> int:
    """Returns how many processes, made by `fork`, may share so many tasks.

    Fewer than 2 say that this process has to do all of them: with one core or task, in a process of another pool, and
    where processes cannot be forked, or not safely.
    """
    if not sys.platform.startswith("linux") or multiprocessing.parent_process() is not None:
        return 1
    return min(tasks, len(os.sched_getaffinity(0)))
