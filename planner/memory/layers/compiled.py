"""Runs a block under torch.compile on symbolic tensors: which values have buffers, and which backward keeps.

A value has a buffer if it is the result of a matrix product, of attention or of a reduction, or if one of these reads
it. Every other value is fused into the kernels that read it, and is computed again from buffers wherever it is needed.

What is saved follows torch's min-cut (torch/_functorch/partitioners.py, `min_cut_rematerialization_partition`): where
backward needs a fused value, the cheaper choice is saved, which is either the value itself or those of its source
buffers that are not saved already. What a kernel reads in backward, such as autocast's copy of a weight, is never
computed again (`ban_recompute_materialized_backward`).

The whole block is one node of autograd's graph: its gradients are handed on together when its backward ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from planner.memory.autograd.ops import Target
from planner.memory.autograd.tape import Meter, Storage, Tape, Tensor, Variable
from planner.memory.layers.layers import Layers


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

    def __init__(self, *, keep_saved: bool, recomputed: bool) -> None:
        super().__init__(keep_saved=keep_saved, recomputed=recomputed)
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
            self.saved.append((source.name, source.fixed, source.per_sample))
        self.meter.take()
        self.snapshots_at_last_save = len(self.meter.snapshots)
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


class CompiledLayers(Layers):
    """Interprets a block whose operations are either fused or kernels of their own."""

    tape: CompiledTape

    def __init__(self, tape: Tape, **options: Any) -> None:
        super().__init__(CompiledTape(keep_saved=tape.keep_saved, recomputed=tape.recomputed), **options)
        self._source: Variable | None = None
        # Recorded first, so that it is the last function that backward runs.
        end = Variable()
        end.gradient = self.tape.storage(0, 0)
        self.tape.record(end, self._end_backward)

    def _end_backward(self, _: Storage) -> None:
        """Ends the block's backward: the input's gradient gets a buffer, and parameters' gradients are handed on."""
        tape, source = self.tape, self._source
        if source is not None and source.gradient is not None:
            source.gradient = tape.buffer(source.gradient)
        tape.hand_on()

    def input(self, width: int, itemsize: int, requires_grad: bool, name: str) -> Tensor:
        """Returns the block's input in a buffer: `sequence_length x width` elements per sample."""
        x = self.tensor(self.sequence_length * width, width, itemsize, name)
        x.storage = self.tape.storage(0, x.per_sample * itemsize, name)
        x.variable = self._source = Variable() if requires_grad else None
        return x

    def leave_block(self, out: Tensor) -> Tensor:
        """Ends the block's forward graph, which returns its output and what is saved, whether or not that is kept."""
        tape = self.tape
        assert out.storage is not None
        out.storage = tape.buffer(out.storage)
        tape.outputs.clear()
        return out

    # --- operations that are fused ---

    def tensor(self, per_sample: int, width: int, itemsize: int, name: str, *inputs: Tensor) -> Tensor:
        """Returns a fused value of `per_sample` elements; it needs a gradient when one of `inputs` does."""
        variable = Variable() if any(x.variable is not None for x in inputs) else None
        value = self.tape.fused((0, per_sample * itemsize), name, (x.storage for x in inputs))
        return Tensor(value, 0, per_sample, width, itemsize, variable)

    def to(self, x: Tensor, itemsize: int, name: str) -> Tensor:
        """Returns `x` cast to `itemsize` bytes per element as a fused value, or `x` itself if it has that dtype."""
        if x.itemsize == itemsize:
            return x
        storage = x.storage if x.storage is None else self._cast(x, x.storage, itemsize, name)
        storage = storage or self.tape.fused((x.fixed * itemsize, x.per_sample * itemsize), name, ())
        out = Tensor(storage, x.fixed, x.per_sample, x.width, itemsize, Variable() if x.variable is not None else None)
        return self.differentiate(out, self.own_targets(x))

    def _cast(self, x: Tensor, given: Storage, itemsize: int, name: str) -> Storage:
        """Returns the cast of `given`, which is the storage of `x`; a value is cast to a dtype only once.

        A narrower cast of a cast becomes a cast of the first value (torch/_inductor/fx_passes, `pointless_convert`). If
        it returns to the first value's dtype, it is that value itself where that is fused, but a copy where it is a
        buffer, so that no two saved tensors are the same one (`remove_noop_ops`).
        """
        if isinstance(given, Fused) and given.origin is not None and itemsize < x.itemsize:
            origin, of_origin = given.origin
            if of_origin == itemsize and isinstance(origin, Fused):
                return origin
            x, given = x.constant(of_origin), origin
        known = given.casts.get(itemsize) if isinstance(given, Fused) else None
        value = known() if known is not None else None
        if value is None:
            value = self.tape.fused((x.fixed * itemsize, x.per_sample * itemsize), name, (given,))
            value.origin = given, x.itemsize
            if isinstance(given, Fused):
                given.casts[itemsize] = weakref.ref(value)
        return value

    def differentiate(
        self,
        out: Tensor,
        targets: Sequence[Target],
        saved: Sequence[Storage | None] = (),
        *,
        temporaries: int = 0,
        flops: int = 0,
    ) -> Tensor:
        """Records a backward function whose gradients are fused with what follows.

        A gradient that is summed to a smaller shape is a reduction and has a buffer. `temporaries` are fused and
        ignored.
        """
        if out.variable is None:
            return out
        for t in targets:
            self.tape.expects(t.variable)
        if flops:
            return self._differentiate_product(out, targets, saved, flops)
        tape, kept = self.tape, list(saved)
        per_sample = out.per_sample

        def backward(gradient: Storage) -> None:
            read = (gradient, *kept)
            kept.clear()
            for t in targets:
                size = t.fixed, t.per_sample
                # A cast to another dtype leaves half the bytes at least; fewer bytes mean a sum.
                is_sum = (t.fixed and per_sample) or 2 * sum(size) < t.made_fixed + t.made_per_sample
                tape.accumulate(t.variable, tape.storage(*size) if is_sum else tape.fused(size, "", read))

        tape.record(out.variable, backward)
        return out

    def _differentiate_product(
        self, out: Tensor, targets: Sequence[Target], saved: Sequence[Storage | None], flops: int
    ) -> Tensor:
        """Records the backward of a matrix product, which makes the weight's gradient before the input's."""
        tape, itemsize = self.tape, out.itemsize
        assert out.variable is not None
        tape.of_kernels.add(out.variable)

        def backward(gradient: Storage) -> None:
            tape.buffer(gradient)
            self.multiply(itemsize, flops)
            for t in reversed(targets):
                tape.accumulate(t.variable, tape.storage(t.fixed, t.per_sample))

        tape.record(out.variable, backward, *saved)
        return out

    def pass_on(self, out: Tensor, inputs: Sequence[Tensor]) -> Tensor:
        """Records the backward of a sum or a concatenation.

        A term of the result's shape and dtype gets the gradient itself; others get a fused value, or a buffer where the
        gradient is summed over the samples.
        """
        if out.variable is None:
            return out
        tape = self.tape
        terms = [x for x in inputs if x.variable is not None]
        alike = [x.per_sample == out.per_sample and x.itemsize == out.itemsize for x in terms]
        if any(same and x.variable in tape.of_kernels for x, same in zip(terms, alike, strict=True)):
            tape.of_kernels.add(out.variable)
        targets = self.own_targets(*terms)
        for t in targets:
            tape.expects(t.variable)

        def backward(gradient: Storage) -> None:
            for t, same in zip(targets, alike, strict=True):
                made = gradient
                if t.fixed:
                    made = tape.storage(t.fixed, 0)
                elif not same:
                    made = tape.fused((0, t.per_sample), "", (gradient,))
                tape.accumulate(t.variable, made)

        tape.record(out.variable, backward)
        return out

    def slices(self, x: Tensor, widths: Sequence[int], *, split: bool = False) -> list[Tensor]:
        """Returns views of consecutive columns; the gradients of all parts become one fused value."""
        rows, tape, to_x = x.per_sample // x.width, self.tape, x.variable
        size = 0, x.per_sample * x.itemsize
        parts = []

        def backward(gradient: Storage) -> None:
            assert to_x is not None
            tape.accumulate(to_x, tape.fused(size, "", (gradient,)))

        for width in widths:
            variable = None if to_x is None else Variable()
            parts.append(Tensor(x.storage, 0, rows * width, width, x.itemsize, variable))
            if to_x is not None and variable is not None:
                tape.expects(to_x)
                tape.record(variable, backward)
        return parts

    # --- kernels, which read and write buffers ---

    def _read(self, x: Tensor) -> Tensor:
        """Returns `x` after giving it a buffer, since a kernel reads or writes it."""
        if x.storage is not None:
            self.tape.buffer(x.storage)
        return x

    def mean(self, x: Tensor, name: str) -> Tensor:
        """Returns the mean of each row; as a reduction it has a buffer."""
        out = self.tensor(x.per_sample // x.width, 1, x.itemsize, name, x)
        return self.differentiate(self._read(out), self._targets(x, x))

    def autocast_input(self, x: Tensor, name: str) -> Tensor:
        """Returns `x` in autocast's dtype and in a buffer, since a matrix product reads it."""
        return self._read(super().autocast_input(x, name))

    def autocast_weight(self, weight: Tensor, name: str) -> Tensor:
        """Returns a weight in autocast's dtype.

        It is cast for every product, since nothing is cached outside of the graph.
        """
        return weight if self.autocast is None else self._read(self.to(weight, self.autocast, name))

    def attention(self, query: Tensor, key: Tensor, value: Tensor, **form: Any) -> Tensor:
        """Returns attention, whose kernel reads the output's gradient from a buffer."""
        out = super().attention(query, key, value, **form)
        if out.variable is None:
            return out
        tape, variable = self.tape, out.variable
        returned = Variable()
        tape.record(returned, lambda gradient: tape.accumulate(variable, tape.buffer(gradient)))
        return Tensor(out.storage, out.fixed, out.per_sample, out.width, out.itemsize, returned)
