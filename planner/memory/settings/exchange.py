"""Tensors that several parts of a model read: an encoder's output, position biases.

Each part is traced alone. The one that makes such a tensor has its bytes on its account, and the gradient that others
have gathered when its own backward begins; those that read it have what they make of that gradient.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from planner.memory.autograd.tape import Storage, Tape, Tensor, Variable


class Shared(NamedTuple):
    """What readers know of a tensor of another part."""

    fixed: int
    per_sample: int
    width: int
    itemsize: int
    heads_first: bool
    needs_gradient: bool
    returned: bool
    """By the model's forward, beside its logits."""
    in_body: bool = False
    """A variable of the model's body keeps it."""
    cast: bool = False
    """For each block that is called with it, by FSDP2 outside of what is checkpointed."""

    @property
    def num_bytes(self) -> tuple[int, int]:
        """(fixed, per sample)"""
        return self.fixed * self.itemsize, self.per_sample * self.itemsize


class Exchange:
    """What one part shares and reads. `known`: what parts before it share, by name."""

    def __init__(self, known: dict[str, Shared] | None = None) -> None:
        self.known: dict[str, Shared] = {} if known is None else known
        self.made: dict[str, Shared] = {}
        self.leaves = self.takes = (0, 0)
        """(fixed, per sample) of gradients that this part's backward leaves for the parts before it, and of those that
        others have left when it begins."""
        self._gathered: list[tuple[Variable, tuple[int, int]]] = []
        self._tensors: dict[str, Tensor] = {}
        self._read: dict[str, Storage] = {}

    def share(self, name: str, x: Tensor, *, gathers: bool = True, returned: bool = False, cast: bool = False) -> None:
        needs_gradient = x.variable is not None
        shared = Shared(x.fixed, x.per_sample, x.width, x.itemsize, x.heads_first, needs_gradient, returned, cast=cast)
        self.known[name] = self.made[name] = shared
        self._tensors[name] = x
        if x.variable is not None and gathers:
            self._gathered.append((x.variable, shared.num_bytes))
            self.takes = _sum(self.takes, shared.num_bytes)

    def read(self, tape: Tape, name: str, *, last: bool) -> Tensor:
        shared = self.known[name]
        storage = self._read.setdefault(name, tape.storage(0, 0, name))
        variable = Variable() if shared.needs_gradient else None
        if variable is not None and last:
            self.leaves = _sum(self.leaves, shared.num_bytes)
        elif variable is not None:
            variable.gradient = tape.storage(0, 0)  # on the account of the last reader
        out = Tensor(storage, shared.fixed, shared.per_sample, shared.width, shared.itemsize, variable)
        out.heads_first = shared.heads_first
        return out

    def saved_of_others(self) -> frozenset[str]:
        """Names of what it reads and needs in backward."""
        return frozenset(name for name, storage in self._read.items() if storage.saved)

    def sizes_read(self, names: Collection[str]) -> list[tuple[int, int]]:
        """(fixed, per sample) bytes of those of these that it reads."""
        return [self.known[name].num_bytes for name in self._read if name in names]

    def not_saved(self, body: Sequence[Storage] = ()) -> dict[str, Shared]:
        """What it shares and does not need in its own backward. `body`: what variables of the model's body keep."""
        storages = ((name, x.storage) for name, x in self._tensors.items() if x.storage is not None)
        return {name: self.made[name]._replace(in_body=s in body) for name, s in storages if not s.saved}

    def forget_storages(self) -> None:
        """The model's forward has returned."""
        self._tensors.clear()

    def receive(self, tape: Tape) -> None:
        """Backward begins: the gradients that other parts have gathered are there."""
        for variable, size in self._gathered:
            variable.gradient = tape.storage(*size)


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]
