"""Represents storages that have a size but no values, and the meter that counts their live bytes."""

from typing import NamedTuple


class Snapshot(NamedTuple):
    """Holds the live bytes at one instant: all of them, those saved for backward, and finished parameter gradients."""

    fixed: int
    per_sample: int
    saved_fixed: int
    saved_per_sample: int
    gradients: int

    def above(self, saved: tuple[int, int]) -> "Snapshot":
        """Returns this instant with `saved`, (fixed, per-sample) bytes saved by others, added."""
        return self._replace(
            fixed=self.fixed + saved[0],
            per_sample=self.per_sample + saved[1],
            saved_fixed=self.saved_fixed + saved[0],
            saved_per_sample=self.saved_per_sample + saved[1],
        )

    def at(self, micro_batch_size: int) -> int:
        """Returns all live bytes at a micro-batch size."""
        return self.fixed + self.per_sample * micro_batch_size


class Saved(NamedTuple):
    """Describes a tensor that is saved for backward."""

    name: str
    fixed: int
    """Bytes that do not depend on the micro-batch size."""
    per_sample: int
    """Bytes that each sample adds."""
    width: int = 0
    """Elements of the last dimension; 0 if the shape is not known, as of a view of a part."""
    itemsize: int = 0
    """Bytes per element; 0 if the shape is not known."""


Logged = tuple[int, int, int]
"""A storage's number with its fixed and its per-sample bytes for an allocation, (-number, 0, 0) for its release, and
(number, FINISHED, FINISHED) where it has become a parameter's gradient, (number, FINISHED, AWAITED) if other parts add
theirs to it; (0, FINISHED, MULTIPLIES) after the result of the first matrix product of a pass."""

FINISHED, AWAITED, MULTIPLIES = -1, -2, -3


class Meter:
    """Counts live bytes and records the instants that can be peaks: before a release that follows an allocation.

    Args:
        logs: Whether to log every allocation and release in addition.
    """

    __slots__ = (
        "allocations",
        "fixed",
        "gradients",
        "grown",
        "log",
        "multiplies",
        "numbers",
        "once",
        "per_sample",
        "saved_fixed",
        "saved_per_sample",
        "snapshots",
    )

    def __init__(self, *, logs: bool = False) -> None:
        self.log: list[Logged] | None = [] if logs else None
        """What has happened to storages, in order; None if that is not logged."""
        self.fixed = self.per_sample = self.saved_fixed = self.saved_per_sample = self.gradients = 0
        self.numbers = 0
        """Storages that were made, whether or not a kernel writes them."""
        self.allocations = 0
        """Storages that were made. A kernel writes what was allocated for it, so these are the kernels launched."""
        self.grown = self.once = self.multiplies = False
        self.snapshots: list[tuple[int, int, int, int, int]] = []

    def take(self) -> None:
        """Remembers the present instant (the fields of a `Snapshot`)."""
        self.grown = False
        self.snapshots.append((self.fixed, self.per_sample, self.saved_fixed, self.saved_per_sample, self.gradients))

    def finish(self, gradient: "Storage", *, awaited: bool) -> None:
        """Logs that a storage is a parameter's gradient from now on, and whether other parts add theirs to it."""
        if self.log is not None:
            self.log.append((gradient.number, FINISHED, AWAITED if awaited else FINISHED))

    def multiply(self) -> None:
        """Logs that a matrix product runs, if it is the first one since `multiplies` was last false."""
        if self.log is not None and not self.multiplies:
            self.multiplies = True
            self.log.append((0, FINISHED, MULTIPLIES))

    def mark(self) -> list[tuple[int, int, int, int, int]]:
        """Returns the instants since the last mark and starts a new list with the present one."""
        self.take()
        taken, self.snapshots = self.snapshots, self.snapshots[-1:]
        return taken


class Storage:
    """Holds `fixed + per_sample x micro_batch_size` bytes, which live as long as something refers to this object."""

    __slots__ = ("fixed", "meter", "name", "number", "per_sample", "saved", "viewed")

    def __init__(self, meter: Meter, fixed: int, per_sample: int, name: str) -> None:
        if meter.once:
            fixed, per_sample = fixed + per_sample, 0
        self.meter, self.fixed, self.per_sample, self.name, self.saved = meter, fixed, per_sample, name, False
        self.viewed = False
        """Whether this is a gradient that is passed on as a view, as a reshaped or transposed product is."""
        meter.fixed += fixed
        meter.per_sample += per_sample
        meter.grown = True
        meter.allocations += 1
        meter.numbers = self.number = meter.numbers + 1
        if meter.log is not None:
            meter.log.append((self.number, fixed, per_sample))

    def mark_saved(self) -> None:
        """Counts these bytes as saved for backward (as activations) from now on."""
        if not self.saved:
            self.saved = True
            self.meter.saved_fixed += self.fixed
            self.meter.saved_per_sample += self.per_sample

    def __del__(self) -> None:
        meter = self.meter
        if meter.grown:
            meter.take()
        if meter.log is not None:
            meter.log.append((-self.number, 0, 0))
        meter.fixed -= self.fixed
        meter.per_sample -= self.per_sample
        if self.saved:
            meter.saved_fixed -= self.fixed
            meter.saved_per_sample -= self.per_sample
