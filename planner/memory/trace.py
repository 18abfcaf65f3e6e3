"""Runs the parts of a model once on symbolic tensors: what each keeps, its peaks in forward and backward, its work."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import NamedTuple

from planner.memory import loss as losses
from planner.memory.layers import Layers
from planner.memory.numerics import Numerics
from planner.memory.tape import Snapshot, Storage, Tape, Tensor, Variable
from planner.models import Decoder
from strategies import Attention, Checkpointing, Full, Loss, Method


class Work(NamedTuple):
    """Work of one pass through a part: `x_per_sample x micro_batch_size + x_fixed`."""

    half_flops_per_sample: int = 0
    fp32_flops_per_sample: int = 0
    bytes_per_sample: int = 0
    fixed_bytes: int = 0

    def plus(self, other: Work) -> Work:
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, n: int) -> Work:
        return Work(*(n * a for a in self))


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a model (stem, block or head), alone: bytes are relative to just before its input existed."""

    forward: tuple[Snapshot, ...]
    backward: tuple[Snapshot, ...]
    """From the moment its output's gradient exists; what forward saved is included."""
    held: tuple[int, int]
    """(fixed, per sample) kept from its forward until the end of the whole forward pass."""
    saved: tuple[int, int]
    """(fixed, per sample) kept from its forward until its backward."""
    gradients: int
    """Bytes of finished parameter gradients that its backward leaves, in the dtype of the computation."""
    forward_work: Work
    backward_work: Work
    saved_tensors: tuple[tuple[str, int, int], ...]
    """Name, fixed and per-sample bytes of everything that backward needs."""


class Setting(NamedTuple):
    """All that the bytes of a part depend on, besides the model."""

    numerics: Numerics
    method: Method
    attention: Attention
    loss: Loss
    sequence_length: int


def envelope(snapshots: list[tuple[int, int, int, int, int]]) -> tuple[Snapshot, ...]:
    """Those snapshots that are the largest for some micro-batch of one sample or more."""
    best: list[tuple[int, int, int, int, int]] = []
    for candidate in sorted(set(snapshots), key=lambda s: (s[1], s[0]), reverse=True):
        # Sorted by slope: a flatter line is ever the largest only if it starts higher than all steeper ones do at 1.
        if not best or candidate[0] + candidate[1] > max(b[0] + b[1] for b in best):
            best.append(candidate)
    return tuple(Snapshot(*s) for s in best)


class Tracer:
    """Traces the parts of one architecture under one setting."""

    def __init__(self, architecture: Decoder, setting: Setting) -> None:
        self.architecture, self.setting = architecture, setting
        self._rope_itemsize = 0

    def _layers(self, *, keep_saved: bool = True) -> Layers:
        s = self.setting
        layers = Layers(
            Tape(keep_saved=keep_saved),
            numerics=s.numerics,
            method=s.method,
            attention=s.attention,
            sequence_length=s.sequence_length,
        )
        layers.rope_itemsize = self._rope_itemsize
        return layers

    def stem(self, *, output_requires_grad: bool) -> tuple[Part, int]:
        """The embeddings, and the item size of the hidden states that they start."""
        layers = self._layers()
        run = _Run(layers)
        x = self.architecture.stem(layers)
        self._rope_itemsize = layers.rope_itemsize
        if output_requires_grad and x.variable is None:
            x.variable = Variable()  # PEFT's enable_input_require_grads
        itemsize = x.itemsize
        return run.finish(x), itemsize

    def block(self, kind: Hashable, itemsize: int, checkpointing: Checkpointing, *, input_requires_grad: bool) -> Part:
        width = self.architecture.hidden_size
        forward = None
        if checkpointing is Checkpointing.FULL:
            layers = self._layers(keep_saved=False)
            run = _Run(layers)
            x = layers.input(width, itemsize, input_requires_grad, "block input")
            x.storage.mark_saved()
            out = self.architecture.block(layers, x, kind)
            forward = run.forward_only(out)
            del x, out
        layers = self._layers()
        run = _Run(layers)
        x = layers.input(width, itemsize, input_requires_grad, "block input")
        kept = x.storage if forward is not None else None
        out = self.architecture.block(layers, x, kind)
        del x
        if forward is None:
            return run.finish(out)
        kept.mark_saved()
        return run.finish_recomputed(out, forward, kept.per_sample)

    def head(self, itemsize: int) -> Part:
        layers = self._layers()
        run = _Run(layers)
        trains = isinstance(self.setting.method, Full)
        x = layers.input(self.architecture.hidden_size, itemsize, True, "final hidden states")
        logits = self.architecture.head(layers, x)
        del x, trains
        loss = losses.LOSSES[self.setting.loss](layers, logits)
        del logits
        return run.finish(loss)


class _Run:
    """Measures one part while its forward and backward run."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.meter = layers, layers.tape.meter
        self.meter.mark()

    def _live_without(self, out: Storage | None) -> tuple[int, int]:
        fixed, per_sample = (out.fixed, out.per_sample) if out is not None and not out.saved else (0, 0)
        return self.meter.fixed - fixed, self.meter.per_sample - per_sample

    def _work(self) -> Work:
        cost = self.layers.tape.cost
        return Work(cost.flops_per_sample[2], cost.flops_per_sample[4], cost.bytes_per_sample, cost.fixed_bytes)

    def _after_forward(self, out: Tensor) -> tuple[list[tuple[int, int, int, int, int]], tuple[int, int]]:
        forward, held = self.meter.mark(), self._live_without(out.storage)
        self.layers.leave_autocast()
        return forward, held

    def forward_only(self, out: Tensor) -> tuple[list[tuple[int, int, int, int, int]], tuple[int, int]]:
        return self._after_forward(out)

    def finish(self, out: Tensor) -> Part:
        forward, held = self._after_forward(out)
        return self._backward(out, forward, held, self._live_without(out.storage), recomputed=None)

    def finish_recomputed(
        self, out: Tensor, first: tuple[list[tuple[int, int, int, int, int]], tuple[int, int]], kept: int
    ) -> Part:
        """Backward computes the block again first, up to the last tensor that it needs (torch.utils.checkpoint,
        `early_stop`), while the gradient of its output waits."""
        again = self.meter.mark()[: self.layers.tape.snapshots_at_last_save]
        self.layers.leave_autocast()
        forward, held = first
        return self._backward(out, forward, held, (0, kept), recomputed=again)

    def _backward(
        self,
        out: Tensor,
        forward: list[tuple[int, int, int, int, int]],
        held: tuple[int, int],
        saved: tuple[int, int],
        recomputed: list[tuple[int, int, int, int, int]] | None,
    ) -> Part:
        tape, meter = self.layers.tape, self.meter
        forward_work = self._work()
        size = out.storage.per_sample if out.storage is not None else 0
        variable = out.variable
        names = tuple(tape.saved)
        out.storage = None
        meter.mark()
        if variable is not None:
            tape.backward(variable, tape.storage(0, size))
        backward = meter.mark()
        if recomputed is not None:
            backward += [(s[0], s[1] + size, s[2], s[3], s[4]) for s in recomputed]
        total = self._work()
        backward_work = Work(*(t - f for t, f in zip(total, forward_work, strict=True)))
        if recomputed is not None:
            backward_work = backward_work.plus(forward_work)
        return Part(
            forward=envelope(forward),
            backward=envelope(backward),
            held=held,
            saved=saved,
            gradients=meter.gradients,
            forward_work=forward_work,
            backward_work=backward_work,
            saved_tensors=names,
        )


Trace = Callable[[], Part]
