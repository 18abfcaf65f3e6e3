"""Says which results of a checkpointed block a selective policy keeps, and how its recomputation takes them.

Source: torch/utils/checkpoint.py, `_CachingTorchDispatchMode` and `_CachedTorchDispatchMode`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from planner.memory.autograd.tape import Storage, Tape
from strategies import Operation

Sizes = tuple[tuple[int, int, str], ...]
"""(fixed bytes, per-sample bytes, name) of each result of an operation."""


class PolicyKept(NamedTuple):
    """Describes the results of one operation that are kept from forward to the recomputation."""

    sizes: Sizes
    waits: bool
    """Whether they stay until the block's backward is over, because the recomputation stops before this operation."""


class Results:
    """Allocates every result of the operations on a tape, as without checkpointing."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
        """Makes the results of the next operation.

        Args:
            operation: Its kind, by which a policy chooses; None if no policy knows it.
            sizes: Bytes and name of each result.

        Returns:
            The storages of the results, and whether the operation has to run for them.
        """
        return [Storage(self.tape.meter, *size) for size in sizes], True


class Keeping(Results):
    """Makes results in the forward pass of a checkpointed block, and keeps those that its policy names.

    `keeps` maps a kind of operation to a number n: the first of every n operations of this kind has its results kept.
    """

    def __init__(self, tape: Tape, keeps: Mapping[Operation, int]) -> None:
        super().__init__(tape)
        self.keeps = keeps
        self.storages: list[Storage] = []
        self._numbers: Counter[Operation] = Counter()
        self._made: list[tuple[Sizes, int] | None] = []
        """For each operation, its results and the number of tensors saved before it, or None if it is not kept."""

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
        """Makes the results of the next operation, and keeps them if its policy says so; see `Results.of`."""
        made, _ = super().of(operation, sizes)
        stays = self._stays(operation)
        self._made.append((sizes, self.tape.num_saves) if stays else None)
        if stays:
            for storage in made:
                storage.mark_saved()
            self.storages += made
        return made, True

    def _stays(self, operation: Operation | None) -> bool:
        if operation is None or operation not in self.keeps:
            return False
        number = self._numbers[operation]
        self._numbers[operation] += 1
        return number % self.keeps[operation] == 0

    def kept(self) -> list[PolicyKept | None]:
        """Returns what is kept of each operation, in their order; None where nothing is."""
        return [made and PolicyKept(made[0], waits=made[1] == self.tape.num_saves) for made in self._made]


class Taking(Results):
    """Takes results in the recomputation of a block: what was kept exists from its beginning, and each is taken once.

    `kept` has an entry for each operation, as `Keeping.kept` returns them.
    """

    def __init__(self, tape: Tape, kept: Sequence[PolicyKept | None]) -> None:
        super().__init__(tape)
        self._cache = [[Storage(tape.meter, *size) for size in entry.sizes] if entry else None for entry in kept]
        self._cache.reverse()
        for storages in self._cache:
            for storage in storages or ():
                storage.mark_saved()
        self._waiting = [s for s, entry in zip(reversed(self._cache), kept, strict=True) if entry and entry.waits]

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
        """Takes the results of the next operation if they were kept, else makes them; see `Results.of`."""
        storages = self._cache.pop()
        return super().of(operation, sizes) if storages is None else (storages, False)
