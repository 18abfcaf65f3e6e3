"""Finds, among the snapshots of a pass, those that can be its peak at some micro-batch size."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

from planner.memory.autograd.tape import Snapshot

RawSnapshot = tuple[int, int, int, int, int]
"""The fields of a `Snapshot`, as the meter records them."""
R = TypeVar("R", bound=tuple[int, ...])


def envelope(snapshots: Sequence[RawSnapshot]) -> tuple[Snapshot, ...]:
    """Returns the snapshots that are the largest at some micro-batch size of 1 or more."""
    return tuple(Snapshot(*s) for s in largest(snapshots))


def envelope_of_backward(snapshots: Sequence[RawSnapshot]) -> tuple[Snapshot, ...]:
    """Returns the snapshots of a backward that are the largest, whether gradients that are finished stay or not.

    Those that are added to others, or moved into DDP's buckets, are freed at once: a later instant is then the smaller
    one, although more has been allocated until then.
    """
    kept = largest(snapshots)
    moved = largest([(s[0] - s[4], s[1], place) for place, s in enumerate(snapshots)])
    kept += [snapshots[place] for _, _, place in moved if snapshots[place] not in kept]
    return tuple(Snapshot(*s) for s in kept)


def largest(snapshots: Sequence[R]) -> list[R]:
    """Returns the lines `fixed + per_sample x size` that are the largest at some size of one or more."""
    if not snapshots:
        return []
    steepest = max(snapshots, key=itemgetter(1, 0))
    highest = steepest[0] + steepest[1]
    best = [steepest]
    # In order of falling slope: a flatter line can be the largest somewhere only if it is larger at one sample.
    flatter = [s for s in snapshots if s[0] + s[1] > highest]
    for candidate in sorted(flatter, key=itemgetter(1, 0), reverse=True):
        if candidate[0] + candidate[1] > highest:
            best.append(candidate)
            highest = candidate[0] + candidate[1]
    return best


def raised(snapshot: RawSnapshot, fixed: int, per_sample: int) -> RawSnapshot:
    """Returns a snapshot with bytes added to its totals."""
    return (snapshot[0] + fixed, snapshot[1] + per_sample, *snapshot[2:])
