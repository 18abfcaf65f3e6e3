"""Measures one part while its forward and backward run on symbolic tensors."""

from __future__ import annotations

from planner.memory.autograd.tape import Tensor
from planner.memory.layers.layers import Layers
from planner.memory.settings.parts import Part, RawSnapshot, Work, envelope, raised


class PartRun:
    """Measures one part while its forward and backward run."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.meter = layers, layers.tape.meter
        self.meter.mark()

    def _live_without(self, out: Tensor) -> tuple[int, int]:
        storage = out.storage
        if storage is None or storage.saved:
            return self.meter.fixed, self.meter.per_sample
        return self.meter.fixed - storage.fixed, self.meter.per_sample - storage.per_sample

    def work(self) -> Work:
        cost = self.layers.tape.cost
        flops = cost.flops_per_sample
        return Work(flops[2], flops[4], cost.bytes_per_sample, cost.fixed_bytes, fp8_flops_per_sample=flops[1])

    def forward(self, out: Tensor) -> tuple[list[RawSnapshot], tuple[int, int]]:
        """The instants of the forward, and what stays until the whole forward pass is over."""
        snapshots = self.meter.mark()
        self.layers.probabilities = None
        self.layers.arguments.clear()
        return snapshots, self._live_without(out)

    def finish(self, out: Tensor, *, again: bool = False) -> Part:
        tape, meter = self.layers.tape, self.meter
        forward, held = self.forward(out)
        recomputed = forward[: tape.snapshots_at_last_save]
        exchange, body = self.layers.exchange, self.layers.unsaved_in_body(out)
        shares, reads = exchange.not_saved(self.layers.body), exchange.saved_of_others()
        self.layers.leave_forward()
        saved, forward_work, names = self._live_without(out), self.work(), tuple(tape.saved)
        size, variable = out.storage.per_sample if out.storage is not None else 0, out.variable
        out.storage = None
        if again:
            tape.kept.clear()
        exchange.receive(tape)
        meter.mark()
        if variable is not None:
            tape.backward(variable, tape.storage(0, size))
        total = self.work()
        return Part(
            forward=envelope(forward),
            backward=envelope(meter.mark()),
            held=held,
            saved=saved,
            kept=tape.kept_bytes(),
            gradients=meter.gradients,
            forward_work=forward_work,
            backward_work=Work(*(t - f for t, f in zip(total, forward_work, strict=True))),
            saved_tensors=names,
            output_requires_grad=variable is not None,
            output_itemsize=out.itemsize,
            output_bytes=size,
            recomputation=envelope([raised(s, *(tape.before_first_use or (0, size))) for s in recomputed]),
            body=body,
            leaves_body=self.layers.leaves_body,
            shares=shares,
            reads=reads,
            leaves=exchange.leaves,
            takes=exchange.takes,
        )
