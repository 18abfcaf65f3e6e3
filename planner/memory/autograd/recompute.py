"""Which results of a checkpointed block stay, and how its recomputation takes them.

Source: torch/utils/checkpoint.py, `_CachingTorchDispatchMode` and `_CachedTorchDispatchMode`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from planner.memory.autograd.tape import Storage, Tape
from strategies import Operation

Sizes = tuple[tuple[int, int, str], ...]
"""Fixed and per-sample bytes and name of each result of an operation."""


class Kept(NamedTuple):
    """Results of one operation that stay from forward to the recomputation. `waits`: beyond, until the block's backward
    is over, since the recomputation stops before the operation."""

    sizes: Sizes
    waits: bool


class Results:
    """Makes the results of operations on a tape: here, as without checkpointing."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
        """Storages of the results, and whether the operation has to run for them."""
        return [Storage(self.tape.meter, *size) for size in sizes], True


class Keeping(Results):
    """In the forward pass of a checkpointed block: some stay."""

    def __init__(self, tape: Tape, keeps: Mapping[Operation, int]) -> None:
        super().__init__(tape)
        self.keeps = keeps
        self.storages: list[Storage] = []
        self._numbers: Counter[Operation] = Counter()
        self._made: list[tuple[Sizes, int] | None] = []
        """Of each operation, if it is kept: its results, and how much had been saved for backward before it."""

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
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

    def kept(self) -> list[Kept | None]:
        """By operation, in order."""
        return [made and Kept(made[0], waits=made[1] == self.tape.num_saves) for made in self._made]


class Taking(Results):
    """In the recomputation: what was kept is there from the beginning, and is taken once."""

    def __init__(self, tape: Tape, kept: Sequence[Kept | None]) -> None:
        super().__init__(tape)
        self._cache = [[Storage(tape.meter, *size) for size in entry.sizes] if entry else None for entry in kept]
        self._cache.reverse()
        for storages in self._cache:
            for storage in storages or ():
                storage.mark_saved()
        self._waiting = [s for s, entry in zip(reversed(self._cache), kept, strict=True) if entry and entry.waits]

    def of(self, operation: Operation | None, sizes: Sizes) -> tuple[list[Storage], bool]:
        storages = self._cache.pop()
        return super().of(operation, sizes) if storages is None else (storages, False)
