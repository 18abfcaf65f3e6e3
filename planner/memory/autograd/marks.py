"""Marks of what happens to parameters while a part runs, for libraries that act on each of them."""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from planner.memory.autograd.storage import Snapshot

WITHOUT_PARAMETERS = "~"
"""Begins the name of a module that has no parameters."""
ACTIVATION = f"{WITHOUT_PARAMETERS}activation"
"""Name of an activation function's module."""
NORM = f"{WITHOUT_PARAMETERS}norm"
"""Name of the module of a norm without weights."""
MODEL = f"{WITHOUT_PARAMETERS}model"
"""Name of the model's own module, whose forward reads parameters of others."""
BODY = f"{WITHOUT_PARAMETERS}body"
"""Name of the module of all but the head, whose forward may read the embedding's table."""


class Happening(Enum):
    """Names what happens to a parameter, or to the module that has it, in the order of a step."""

    BEGINS = "begins"
    """The part begins; there is no parameter."""
    ENTERS = "enters"
    """The forward of a module begins."""
    LEAVES = "leaves"
    """The forward of a module is over."""
    READS = "reads"
    """The forward of the model, or in the first part that of its body, reads a parameter of another module."""
    HOLDS = "holds"
    """A view of a parameter is saved, which keeps its bytes alive even if the parameter lets go of them."""
    LETS_GO = "lets go"
    """The view is gone, since the backward of its operation has run."""
    ENTERS_BACKWARD = "enters backward"
    LEAVES_BACKWARD = "leaves backward"
    GRADIENT = "gradient"
    """The gradient of a parameter is complete; after this instant it is on no part's account."""


class Mark(NamedTuple):
    """Tells that something happens at one of the instants that a meter records."""

    kind: Happening
    name: str
    """Name of the module or the parameter."""
    place: int
    """Number of the instant among those that are being recorded."""


class Happened(NamedTuple):
    """Holds one happening of a part, with the bytes at that instant and at the instants up to the next happening."""

    kind: Happening
    name: str
    at: Snapshot
    after: tuple[Snapshot, ...]
    """The instants until the next happening, which can be the largest."""

    def raised(self, fixed: int, per_sample: int) -> "Happened":
        """Returns the same with bytes added to the totals of all instants."""

        def more(s: Snapshot) -> Snapshot:
            return s._replace(fixed=s.fixed + fixed, per_sample=s.per_sample + per_sample)

        return self._replace(at=more(self.at), after=tuple(map(more, self.after)))


def happened(snapshots: Sequence[Snapshot], marks: Sequence[Mark]) -> tuple[Happened, ...]:
    """Divides the instants of a part at its marks.

    Args:
        snapshots: All instants, in order.
        marks: What happens, in order.
    """
    if not snapshots:
        return ()
    found, kind, name, at = [], Happening.BEGINS, "", 0
    for mark in (*marks, None):
        until = len(snapshots) if mark is None else mark.place + 1
        after = snapshots[at + (kind is Happening.GRADIENT) : until]
        found.append(Happened(kind, name, snapshots[at], _rising(after)))
        if mark is not None:
            kind, name, at = mark.kind, mark.name, mark.place
    return tuple(found)


def _rising(snapshots: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Returns the instants that are the largest at some micro-batch of one sample or more."""
    best: list[Snapshot] = []
    for s in sorted(snapshots, key=lambda s: (s.per_sample, s.fixed), reverse=True):
        if not best or s.fixed + s.per_sample > best[-1].fixed + best[-1].per_sample:
            best.append(s)
    return tuple(best)
