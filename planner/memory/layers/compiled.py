"""A block under torch.compile on symbolic tensors: which values have buffers, and which of them backward keeps.

A buffer exists for the result of a matrix product, of attention and of a reduction, and for what they read; every other
value is fused into its readers, and computed again from buffers wherever it is needed. What is saved follows torch's
min-cut (torch/_functorch/partitioners.py, `min_cut_rematerialization_partition`): where backward needs a fused value,
the cheaper of the value itself and those of its buffers that are not saved already; what a kernel reads in backward is
never computed again (`ban_recompute_materialized_backward`), autocast's copies of weights among it. The whole block is
one node of autograd's graph: its gradients are handed on together, when its backward ends.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from planner.memory.autograd.ops import Target
from planner.memory.autograd.tape import Meter, Storage, Tape, Tensor, Variable
from planner.memory.layers.layers import Layers


class Fused(Storage):
    """A value without a buffer, as long as `buffer` is None: what it is computed from stays alive with it."""

    __slots__ = ("__weakref__", "buffer", "casts", "origin", "parents", "size")

    def __init__(self, meter: Meter, size: tuple[int, int], name: str, parents: Iterable[Storage]) -> None:
        super().__init__(meter, 0, 0, name)
        self.size, self.parents = size, tuple(parents)
        self.buffer: Storage | None = None
        self.origin: tuple[Storage, int] | None = None
        """The value that this one is a cast of, and its item size."""
        self.casts: dict[int, weakref.ref[Fused]] = {}

    def sources(self) -> list[Storage]:
        """The buffers that it is read from."""
        if self.buffer is not None:
            return [self.buffer]
        found = [s for p in self.parents for s in (p.sources() if isinstance(p, Fused) else (p,))]
        return list(dict.fromkeys(found))

    def with_origins(self) -> Iterator[Fused]:
        """Itself, and what it is a cast of."""
        yield self
        if self.origin is not None and isinstance(self.origin[0], Fused):
            yield from self.origin[0].with_origins()


class CompiledTape(Tape):
    """Saves by the rule of the cut, and gathers gradients without adding them up: their sum is a fused value."""

    def __init__(self, *, keep_saved: bool, recomputed: bool) -> None:
        super().__init__(keep_saved=keep_saved, recomputed=recomputed)
        self.outputs: list[Storage] = []
        """What the forward graph returns to be saved: alive until it has returned, whether or not it is kept then."""
        self.finished: list[tuple[Variable, Storage]] = []
        self.awaited: dict[Variable, int] = {}
        self.of_kernels: set[Variable] = set()
        """Of results whose gradient a kernel reads: it is written as soon as it is whole."""
        self.cuts = keep_saved and not recomputed
        """Whether backward is a graph of its own, with a cut to save along. That of a checkpointed block computes
        forward again within itself."""

    def buffer(self, value: Storage) -> Storage:
        """Of a value that is read or returned by a kernel."""
        if not isinstance(value, Fused):
            return value
        if value.buffer is None:
            self.cost.bytes_per_sample += sum(s.per_sample for s in value.sources()) + value.size[1]
            self.cost.fixed_bytes += sum(s.fixed for s in value.sources()) + value.size[0]
            value.buffer = self.storage(*value.size, value.name)
            value.parents, value.origin = (), None
        return value.buffer

    def save(self, tensor: Tensor) -> Storage | None:
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
        return Fused(self.meter, size, name, (p for p in parents if p is not None))

    def expects(self, variable: Variable) -> None:
        """One more gradient will come for it."""
        self.awaited[variable] = self.awaited.get(variable, 0) + 1

    def hand_on(self) -> None:
        """The gradients of parameters, to autograd."""
        while self.finished:
            variable, gradient = self.finished.pop(0)
            super().accumulate(variable, gradient)


class CompiledLayers(Layers):
    """Layers of which each operation is fused or a kernel of its own."""

    tape: CompiledTape

    def __init__(self, tape: Tape, **options: Any) -> None:
        super().__init__(CompiledTape(keep_saved=tape.keep_saved, recomputed=tape.recomputed), **options)
        self._source: Variable | None = None
        end = Variable()
        end.gradient = self.tape.storage(0, 0)
        self.tape.record(end, self._end_backward)

    def _end_backward(self, _: Storage) -> None:
        tape, source = self.tape, self._source
        if source is not None and source.gradient is not None:
            source.gradient = tape.buffer(source.gradient)
        tape.hand_on()

    def input(self, width: int, itemsize: int, requires_grad: bool, name: str) -> Tensor:
        x = self.tensor(self.sequence_length * width, width, itemsize, name)
        x.storage = self.tape.storage(0, x.per_sample * itemsize, name)
        x.variable = self._source = Variable() if requires_grad else None
        return x

    def leave_block(self, out: Tensor) -> Tensor:
        """The block's graph has run: it returns its output and all that is saved, whoever keeps it."""
        tape = self.tape
        assert out.storage is not None
        out.storage = tape.buffer(out.storage)
        tape.outputs.clear()
        return out

    # --- fused ---

    def tensor(self, per_sample: int, width: int, itemsize: int, name: str, *inputs: Tensor) -> Tensor:
        variable = Variable() if any(x.variable is not None for x in inputs) else None
        value = self.tape.fused((0, per_sample * itemsize), name, (x.storage for x in inputs))
        return Tensor(value, 0, per_sample, width, itemsize, variable)

    def to(self, x: Tensor, itemsize: int, name: str) -> Tensor:
        if x.itemsize == itemsize:
            return x
        storage = x.storage if x.storage is None else self._cast(x, x.storage, itemsize, name)
        storage = storage or self.tape.fused((x.fixed * itemsize, x.per_sample * itemsize), name, ())
        out = Tensor(storage, x.fixed, x.per_sample, x.width, itemsize, Variable() if x.variable is not None else None)
        return self.differentiate(out, self.own_targets(x))

    def _cast(self, x: Tensor, given: Storage, itemsize: int, name: str) -> Storage:
        """A value is cast to a dtype once. A narrower cast of a cast is one of the first (torch/_inductor/fx_passes,
        `pointless_convert`): nothing for a fused value, and a copy of a buffer, lest two that are saved be the same one
        (`remove_noop_ops`)."""
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
        """Gradients are fused with what follows, but for those that are summed to a smaller shape."""
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
                # Of another dtype it can have half the bytes, not fewer.
                is_sum = (t.fixed and per_sample) or 2 * sum(size) < t.made_fixed + t.made_per_sample
                tape.accumulate(t.variable, tape.storage(*size) if is_sum else tape.fused(size, "", read))

        tape.record(out.variable, backward)
        return out

    def _differentiate_product(
        self, out: Tensor, targets: Sequence[Target], saved: Sequence[Storage | None], flops: int
    ) -> Tensor:
        """The gradient of the weight is made before that of the input."""
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
        """A term of the same shape and dtype gets the gradient itself."""
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
        """The gradients of all parts are one fused value."""
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

    # --- kernels of their own ---

    def _read(self, x: Tensor) -> Tensor:
        """`x` in a buffer."""
        if x.storage is not None:
            self.tape.buffer(x.storage)
        return x

    def mean(self, x: Tensor, name: str) -> Tensor:
        out = self.tensor(x.per_sample // x.width, 1, x.itemsize, name, x)
        return self.differentiate(self._read(out), self._targets(x, x))

    def autocast_input(self, x: Tensor, name: str) -> Tensor:
        return self._read(super().autocast_input(x, name))

    def autocast_weight(self, weight: Tensor, name: str) -> Tensor:
        """Cast for every product; nothing is cached outside of the graph."""
        return weight if self.autocast is None else self._read(self.to(weight, self.autocast, name))

    def attention(self, query: Tensor, key: Tensor, value: Tensor, **form: Any) -> Tensor:
        out = super().attention(query, key, value, **form)
        if out.variable is None:
            return out
        tape, variable = self.tape, out.variable
        returned = Variable()
        tape.record(returned, lambda gradient: tape.accumulate(variable, tape.buffer(gradient)))
        return Tensor(out.storage, out.fixed, out.per_sample, out.width, out.itemsize, returned)
