"""Records a compiled block: values without buffers, and what backward keeps of them."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping

from planner.memory.autograd.tape import Meter, Saved, Storage, Tape, Tensor, Variable


class Fused(Storage):
    """Represents a value without a buffer as long as `buffer` is None, and keeps alive what it is computed from.

    Attributes:
        size: (fixed, per-sample) bytes that a buffer of the value takes.
        parents: Storages that the value is computed from; empty once it has a buffer.
        buffer: Storage of the value once a kernel reads or returns it, otherwise None.
        casts: Fused casts of this value that are still alive, by their bytes per element.
    """

    __slots__ = ("__weakref__", "buffer", "casts", "origin", "parents", "size")

    def __init__(self, meter: Meter, size: tuple[int, int], name: str, parents: Iterable[Storage]) -> None:
        super().__init__(meter, 0, 0, name)
        meter.allocations -= 1  # no kernel writes it
        self.size, self.parents = size, tuple(parents)
        self.buffer: Storage | None = None
        self.origin: tuple[Storage, int] | None = None
        """The value that this one is a cast of, with that value's bytes per element; None if it is no cast or has a
        buffer."""
        self.casts: dict[int, weakref.ref[Fused]] = {}

    def sources(self) -> list[Storage]:
        """Returns the buffers that the value is read from: its own, or else those of its parents."""
        if self.buffer is not None:
            return [self.buffer]
        found = [s for p in self.parents for s in (p.sources() if isinstance(p, Fused) else (p,))]
        return list(dict.fromkeys(found))

    def with_origins(self) -> Iterator[Fused]:
        """Yields this value and then, one after another, the fused values that it is a cast of."""
        yield self
        if self.origin is not None and isinstance(self.origin[0], Fused):
            yield from self.origin[0].with_origins()


class CompiledTape(Tape):
    """Saves tensors by the rule of the min-cut, and sums gradients as fused values instead of in buffers."""

    def __init__(
        self, *, keep_saved: bool, recomputed: bool, steps: Mapping[str, int], marked: bool, logs: bool = False
    ) -> None:
        super().__init__(keep_saved=keep_saved, recomputed=recomputed, steps=steps, marked=marked, logs=logs)
        self.outputs: list[Storage] = []
        """Buffers that the forward graph returns to be saved; alive until it has returned, even if nothing keeps them
        then."""
        self.finished: list[tuple[Variable, Storage]] = []
        """Parameters with the buffers of their gradients, which wait for the end of the block's backward."""
        self.awaited: dict[Variable, int] = {}
        """Number of gradients that are still to come, by variable."""
        self.of_kernels: set[Variable] = set()
        """Variables of results whose gradient a kernel reads: that gradient gets a buffer as soon as it is complete."""
        self.cuts = keep_saved and not recomputed
        """Whether backward is a graph of its own, with a cut to save along. The backward of a checkpointed block
        computes the forward again within itself instead."""

    def buffer(self, value: Storage) -> Storage:
        """Returns the buffer of a value that a kernel reads or returns; a fused value gets one now.

        Writing that buffer counts as bytes moved, those of the value's sources included. A storage that is not fused is
        returned as it is.
        """
        if not isinstance(value, Fused):
            return value
        if value.buffer is None:
            self.cost.bytes_per_sample += sum(s.per_sample for s in value.sources()) + value.size[1]
            self.cost.fixed_bytes += sum(s.fixed for s in value.sources()) + value.size[0]
            value.buffer = self.storage(*value.size, value.name)
            value.parents, value.origin = (), None
        return value.buffer

    def save(self, tensor: Tensor) -> Storage | None:
        """Saves the buffers that backward computes a tensor from.

        For a fused value, these are its sources, unless the value itself or a value that it is a cast of is smaller
        than the sources that are not saved yet: then that value gets a buffer, which is saved instead.

        Returns:
            The tensor's storage, to be kept by the backward function; None if it has no storage or nothing is kept.
        """
        value = tensor.storage
        self.num_saves += 1
        if value is None:
            return None
        sources = value.sources() if isinstance(value, Fused) else [value]
        missing = [s for s in sources if not s.saved]
        if isinstance(value, Fused) and value.buffer is None and self.cuts:
            narrowest = min(value.with_origins(), key=lambda x: sum(x.size))
            if sum(narrowest.size) < sum(s.fixed + s.per_sample for s in missing):
                missing = [self.buffer(narrowest)]
        for source in missing:
            source.mark_saved()
            if self.keep_saved:
                self.outputs.append(source)
            self.saved.append(Saved(source.name, source.fixed, source.per_sample))
        self.meter.take()
        self.snapshots_at_last_save = len(self.meter.snapshots)
        self.logged_at_last_save = len(self.meter.log or ())
        if self.recomputed:
            self.work_at_last_save = self.done()
        return value if self.keep_saved else None

    def accumulate(self, variable: Variable, gradient: Storage) -> None:
        """Adds a gradient to a variable.

        A parameter's gradient waits in a buffer until the block's backward ends. Other gradients are summed as fused
        values; where a kernel reads the sum, it gets a buffer when the last of the awaited gradients has come.
        """
        if variable.parameter:
            self.finished.append((variable, self.buffer(gradient)))
        elif variable.gradient is None:
            variable.gradient = gradient
        else:
            size = gradient.size if isinstance(gradient, Fused) else (gradient.fixed, gradient.per_sample)
            variable.gradient = self.fused(size, "", (variable.gradient, gradient))
        del gradient
        if variable in self.awaited:
            self.awaited[variable] -= 1
            if variable in self.of_kernels and not self.awaited[variable] and variable.gradient is not None:
                self.buffer(variable.gradient)

    def fused(self, size: tuple[int, int], name: str, parents: Iterable[Storage | None]) -> Fused:
        """Returns a fused value of `size` (fixed, per-sample) bytes that is computed from `parents`."""
        return Fused(self.meter, size, name, (p for p in parents if p is not None))

    def expects(self, variable: Variable) -> None:
        """Counts one more gradient that will come for a variable."""
        self.awaited[variable] = self.awaited.get(variable, 0) + 1

    def hand_on(self) -> None:
        """Hands the finished gradients of parameters on to autograd."""
        while self.finished:
            variable, gradient = self.finished.pop(0)
            super().accumulate(variable, gradient)
