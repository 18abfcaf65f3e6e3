"""Casts to another dtype: `x.to(dtype)`, and those that autocast makes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from planner.memory.autograd.graph import Graph
from planner.memory.autograd.tape import Tensor, Variable


class Casts(Graph):
    """Casts tensors as torch and autocast do."""

    def to(self, x: Tensor, itemsize: int, name: str) -> Tensor:
        """Casts like `x.to(dtype)`: returns `x` if it has that item size, else a copy; backward casts the gradient."""
        if x.itemsize == itemsize:
            return x
        storage = self.tape.storage(x.fixed * itemsize, x.per_sample * itemsize, name)
        variable = Variable() if x.variable is not None else None
        out = Tensor(storage, x.fixed, x.per_sample, x.width, itemsize, variable)
        cost, moved = self.tape.cost, x.itemsize + itemsize
        cost.bytes_per_sample += x.per_sample * moved
        cost.fixed_bytes += x.fixed * moved
        return self.differentiate(out, self.own_targets(x))

    def autocast_input(self, x: Tensor, name: str) -> Tensor:
        """Casts an input of a matmul as autocast does: anew at each call, unless it is a leaf as weights are."""
        if self.autocast is None or x.itemsize == self.autocast:
            return x
        if x.variable is not None and x.variable is self.entry:
            self.casts_entry = True
        return self.autocast_weight(x, name) if x.variable in self.leaves else self.to(x, self.autocast, name)

    def autocast_weight(self, weight: Tensor, name: str) -> Tensor:
        """Returns a weight, or an input that is a leaf, in autocast's dtype.

        The copy of an fp32 leaf that needs a gradient is cached: it lives until autocast's context ends, and all users
        of the weight share it (ATen/autocast_mode.cpp, `cached_cast`).
        """
        if self.autocast is None or weight.itemsize == self.autocast:
            return weight
        if weight.variable is None:
            return self.to(weight, self.autocast, name)
        if weight.variable not in self._cast_cache:
            self._cast_cache[weight.variable] = self.to(weight, self.autocast, name)
        return self._cast_cache[weight.variable]

    def leave_autocast(self) -> None:
        """Drops the cached copies of weights, as the end of autocast's context does."""
        self._cast_cache.clear()

    @contextmanager
    def without_autocast(self) -> Iterator[None]:
        """Switches autocast off within the context, as inside an operation whose inputs autocast has already cast."""
        autocast, self.autocast = self.autocast, None
        try:
            yield
        finally:
            self.autocast = autocast
