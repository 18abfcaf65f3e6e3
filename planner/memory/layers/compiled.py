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
from collections.abc import Sequence
from typing import Any

from planner.memory.autograd.ops import Target
from planner.memory.autograd.tape import Storage, Tape, Tensor, Variable
from planner.memory.layers.compiled_tape import CompiledTape, Fused
from planner.memory.layers.layers import Layers


class CompiledLayers(Layers):
    """Interprets a block whose operations are either fused or kernels of their own."""

    tape: CompiledTape

    def __init__(self, tape: Tape, **options: Any) -> None:
        logs, marked = tape.meter.log is not None, tape.marked
        compiled = CompiledTape(
            keep_saved=tape.keep_saved, recomputed=tape.recomputed, steps=tape.steps, marked=marked, logs=logs
        )
        super().__init__(compiled, **options)
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
        reads: int = 0,
        begins: int = 0,
    ) -> Tensor:
        """Records a backward function whose gradients are fused with what follows.

        A gradient that is summed to a smaller shape is a reduction and has a buffer. `temporaries` are fused and
        ignored, and so is `begins`: Inductor orders kernels itself.
        """
        if out.variable is None:
            return out
        for t in targets:
            self.tape.expects(t.variable)
        if flops:
            return self._differentiate_product(out, targets, saved, flops, reads)
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
        self, out: Tensor, targets: Sequence[Target], saved: Sequence[Storage | None], flops: int, reads: int
    ) -> Tensor:
        """Records the backward of a matrix product, which makes the weight's gradient before the input's."""
        tape, itemsize = self.tape, out.itemsize
        assert out.variable is not None
        tape.of_kernels.add(out.variable)

        def backward(gradient: Storage) -> None:
            tape.buffer(gradient)
            self.multiply(itemsize, flops)
            tape.cost.read_per_sample += reads
            tape.cost.written_per_sample += sum(t.per_sample for t in targets)
            tape.cost.written_fixed += sum(t.fixed for t in targets)
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
