"""Runs the parts of a model once on symbolic tensors: what each keeps, its peaks in forward and backward, its work."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from planner.memory import loss as losses
from planner.memory.attention import mask_bytes
from planner.memory.exchange import Exchange, Shared
from planner.memory.layers import Layers
from planner.memory.numerics import FP32, Numerics
from planner.memory.sdpa import Selection
from planner.memory.tape import Snapshot, Tape, Tensor, Variable
from planner.models import Architecture
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


class Part(NamedTuple):
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
    recomputation: tuple[Snapshot, ...]
    """Its forward up to the last tensor that backward needs, while gradients wait: those that backward makes, from that
    of its output on, until it asks for the first of these tensors. Its input is included."""
    input_bytes: int = 0
    """Per sample, of the hidden states or logits that it starts from."""
    saves_input: bool = False
    returned: Snapshot | None = None
    """Of a loss: the model's forward is over, and its logits are copied in fp32 (accelerate, `convert_outputs_to_fp32`)
    with what backward needs."""
    body: tuple[int, int] = (0, 0)
    """(fixed, per sample) of `held` that a body of the model (a stack of blocks) keeps until it returns."""
    leaves_body: bool = False
    """A body has returned when this part's forward begins, or soon after."""
    shares: Mapping[str, Shared] = MappingProxyType({})
    """What it makes for later parts and does not save itself."""
    reads: frozenset[str] = frozenset()
    """What others share and its backward needs."""
    leaves: tuple[int, int] = (0, 0)
    """(fixed, per sample) of gradients that its backward leaves for parts before it."""
    takes: tuple[int, int] = (0, 0)
    """The same of those that parts behind it left, which are on its own account."""
    output_requires_grad: bool = True
    drops: tuple[int, int] = (0, 0)
    """(fixed, per sample) of what earlier parts hold in forward that is freed before this one runs."""

    def recomputed(
        self, forward: list[RawSnapshot], held: tuple[int, int], input_bytes: int, argument_bytes: int
    ) -> Part:
        """This block under full checkpointing: `forward` and `held` are those of a run that saved nothing but the
        input and arguments of its own; backward computes the block again first (torch.utils.checkpoint, non-reentrant,
        `early_stop`)."""
        kept = argument_bytes + (0 if self.saves_input else input_bytes)
        again = [*self.recomputation, *(_raised(s, 0, kept) for s in self.backward)]
        return Part(
            forward=envelope(forward),
            backward=envelope(again),
            held=held,
            saved=(0, input_bytes + argument_bytes),
            gradients=self.gradients,
            forward_work=self.forward_work,
            backward_work=self.backward_work.plus(self.forward_work),
            saved_tensors=(("block input", 0, input_bytes + argument_bytes),),
            recomputation=(),
            input_bytes=input_bytes,
            reads=self.reads,
            leaves=self.leaves,
            takes=self.takes,
        )

    def kept_by_body(self, per_sample: int) -> Part:
        """This stem where a variable of the model's body keeps its output, of which backward needs nothing."""
        held, body = self.held, self.body
        return self._replace(held=(held[0], held[1] + per_sample), body=(body[0], body[1] + per_sample))


def joined(parts: Sequence[Part], *, checkpointed: bool) -> list[Part]:
    """The parts of a model in order, with what they hold and save of each other. `checkpointed`: blocks save their
    arguments, all that is shared among them."""
    read: frozenset[str] = frozenset().union(*(part.reads for part in parts))
    found, body, returned = [], (0, 0), 0
    for part in parts:
        if part.leaves_body:
            part = part._replace(drops=body)
            body = (0, 0)
        body = body[0] + part.body[0], body[1] + part.body[1]
        for name, shared in part.shares.items():
            fixed, per_sample = shared.num_bytes
            if (checkpointed and not shared.cast) or name in read:
                part = part._replace(saved=(part.saved[0] + fixed, part.saved[1] + per_sample))
                if shared.in_body:
                    body = body[0] - fixed, body[1] - per_sample
                per_sample = 0
            if shared.returned and parts[-1].returned is not None:
                per_sample += shared.per_sample * FP32 if shared.itemsize < FP32 else 0
                returned += per_sample
        found.append(part)
    if (at := parts[-1].returned) is not None:
        found[-1] = found[-1]._replace(returned=at._replace(per_sample=at.per_sample + returned))
    return found


RawSnapshot = tuple[int, int, int, int, int]
"""The fields of a Snapshot, as the meter appends them."""
R = TypeVar("R", bound=tuple[int, ...])


class Setting:
    """All that the bytes of a part depend on, besides the model. Compared by identity: `Traced` makes each once."""

    __slots__ = ("attention", "loss", "method", "numerics", "selection", "sequence_length")

    def __init__(
        self,
        numerics: Numerics,
        method: Method,
        attention: Attention,
        loss: Loss,
        sequence_length: int,
        selection: Selection,
    ) -> None:
        self.numerics, self.method, self.attention, self.loss = numerics, method, attention, loss
        self.sequence_length, self.selection = sequence_length, selection


def envelope(snapshots: Sequence[RawSnapshot]) -> tuple[Snapshot, ...]:
    """Those snapshots that are the largest for some micro-batch of one sample or more."""
    return tuple(Snapshot(*s) for s in largest(snapshots))


def largest(snapshots: Sequence[R]) -> list[R]:
    """The same of anything that begins with fixed and per-sample bytes."""
    if not snapshots:
        return []
    steepest = max(snapshots, key=itemgetter(1, 0))
    highest = steepest[0] + steepest[1]
    best = [steepest]
    # By falling slope: a flatter line is the largest somewhere only if it is at one sample.
    flatter = [s for s in snapshots if s[0] + s[1] > highest]
    for candidate in sorted(flatter, key=itemgetter(1, 0), reverse=True):
        if candidate[0] + candidate[1] > highest:
            best.append(candidate)
            highest = candidate[0] + candidate[1]
    return best


class Tracer:
    """Traces the parts of one architecture under one setting."""

    def __init__(self, architecture: Architecture, setting: Setting) -> None:
        self.architecture, self.setting = architecture, setting
        self._rope_itemsize = self._itemsize = 0
        self._known: dict[str, Shared] = {}

    def _layers(self, *, keep_saved: bool = True) -> Layers:
        s = self.setting
        layers = Layers(
            Tape(keep_saved=keep_saved),
            numerics=s.numerics,
            method=s.method,
            attention=s.attention,
            sequence_length=s.sequence_length,
            selection=s.selection,
        )
        layers.rope_itemsize, layers.mask_itemsize = self._rope_itemsize, self._itemsize
        layers.exchange = Exchange(self._known)
        return layers

    def stem(self, checkpointing: Checkpointing, *, output_requires_grad: bool) -> tuple[Part, int]:
        """The embeddings, and the item size of the hidden states that they start."""
        layers = self._layers()
        run = _Run(layers)
        again = self.architecture.embeds_again is not None
        if (self.architecture.tied_to is not None or again) and isinstance(self.setting.method, Full):
            # The head's gradient of the shared weight waits for the embedding's; it is on the head's account. As a
            # transposed product it is a view, unless autocast's cast stands between, or another one has been added.
            viewed = self.setting.numerics.autocast is None and not again
            layers.await_gradient(f"{self.architecture.embedding_name}.weight", viewed=viewed)
        layers.input_requires_grad = output_requires_grad
        x = self.architecture.stem(layers)
        self._rope_itemsize = layers.rope_itemsize
        if layers.leaf is not None and layers.leaf.storage is not x.storage:
            layers.tape.save(layers.leaf)
        self._itemsize = x.itemsize
        stem = run.finish(x)
        architecture, s = self.architecture, self.setting
        fixed, per_sample = mask_bytes(
            s.attention,
            s.sequence_length,
            self._itemsize,
            masks=architecture.num_masks,
            window=architecture.window,
        )
        held = stem.held[0] + fixed, stem.held[1] + per_sample
        # A checkpointed block keeps its arguments until it has been computed again, the mask among them.
        saved = stem.saved
        if checkpointing is Checkpointing.FULL:
            saved = saved[0] + fixed, saved[1] + per_sample
        return stem._replace(held=held, saved=saved), self._itemsize

    def block(self, kind: Hashable, itemsize: int, *, input_requires_grad: bool, checkpointed: bool = False) -> Part:
        layers = self._layers()
        layers.checkpointed = layers.input_requires_grad = checkpointed
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input")
        held_by_caller = x.storage
        assert held_by_caller is not None
        out = self.architecture.block(layers, x, kind)
        layers.leave_block()
        if layers.leaf is not None:
            layers.tape.save(layers.leaf)
        input_saved, input_bytes = held_by_caller.saved, held_by_caller.per_sample
        del x, held_by_caller
        return run.finish(out)._replace(saves_input=input_saved, input_bytes=input_bytes)

    def checkpointed_block(self, kind: Hashable, itemsize: int, plain: Part) -> Part:
        """`plain` under full checkpointing: a forward that drops everything but its input, and in backward the block
        once more (torch.utils.checkpoint, non-reentrant)."""
        layers = self._layers(keep_saved=False)
        layers.checkpointed = True
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, True, "block input")
        kept = x.storage
        assert kept is not None
        kept.mark_saved()
        out = self.architecture.block(layers, x, kind)
        arguments = list(layers.arguments)
        for argument in arguments:
            argument.mark_saved()
        layers.leave_block()
        del x
        forward, held = run.forward(out)
        body, shares = run.body(out), layers.exchange.not_saved(layers.body)
        layers.tape.forget()
        argument_bytes = sum(argument.per_sample for argument in arguments)
        return plain.recomputed(forward, held, kept.per_sample, argument_bytes)._replace(body=body, shares=shares)

    def head(self, itemsize: int) -> tuple[Part, Part]:
        """Final norm with the language-model head, and the loss."""
        layers = self._layers()
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, True, "final hidden states")
        input_bytes = x.per_sample * itemsize
        logits = self.architecture.head(layers, x)
        del x
        elements, width, logits_itemsize = logits.per_sample, logits.width, logits.itemsize
        head = run.finish(logits)._replace(input_bytes=input_bytes, leaves_body=True)

        layers = self._layers()
        run = _Run(layers)
        logits = layers.tensor(elements, width, logits_itemsize, "logits")
        logits.variable = Variable()
        loss = losses.LOSSES[self.setting.loss](layers, logits, self.architecture.objective)
        del logits
        part = run.finish(loss)
        if layers.autocast is not None and logits_itemsize < FP32:
            fixed, per_sample = part.saved
            at = Snapshot(fixed, per_sample + elements * (logits_itemsize + FP32), fixed, per_sample, 0)
            part = part._replace(returned=at)
        return head, part


class _Run:
    """Measures one part while its forward and backward run."""

    def __init__(self, layers: Layers) -> None:
        self.layers, self.meter = layers, layers.tape.meter
        self.meter.mark()

    def _live_without(self, out: Tensor) -> tuple[int, int]:
        storage = out.storage
        if storage is None or storage.saved:
            return self.meter.fixed, self.meter.per_sample
        return self.meter.fixed - storage.fixed, self.meter.per_sample - storage.per_sample

    def _work(self) -> Work:
        cost = self.layers.tape.cost
        return Work(cost.flops_per_sample[2], cost.flops_per_sample[4], cost.bytes_per_sample, cost.fixed_bytes)

    def forward(self, out: Tensor) -> tuple[list[RawSnapshot], tuple[int, int]]:
        """The instants of the forward, and what stays until the whole forward pass is over."""
        return self.meter.mark(), self._live_without(out)

    def body(self, out: Tensor) -> tuple[int, int]:
        """(fixed, per sample) of what only variables of the model's body keep."""
        kept = [s for s in self.layers.body if not s.saved and s is not out.storage]
        return sum(s.fixed for s in kept), sum(s.per_sample for s in kept)

    def finish(self, out: Tensor) -> Part:
        tape, meter = self.layers.tape, self.meter
        forward, held = self.forward(out)
        recomputed = forward[: tape.snapshots_at_last_save]
        exchange, body = self.layers.exchange, self.body(out)
        shares, reads = exchange.not_saved(self.layers.body), exchange.saved_of_others()
        self.layers.leave_forward()
        saved, forward_work, names = self._live_without(out), self._work(), tuple(tape.saved)
        size, variable = out.storage.per_sample if out.storage is not None else 0, out.variable
        out.storage = None
        exchange.receive(tape)
        meter.mark()
        if variable is not None:
            tape.backward(variable, tape.storage(0, size))
        total = self._work()
        return Part(
            forward=envelope(forward),
            backward=envelope(meter.mark()),
            held=held,
            saved=saved,
            gradients=meter.gradients,
            forward_work=forward_work,
            backward_work=Work(*(t - f for t, f in zip(total, forward_work, strict=True))),
            saved_tensors=names,
            recomputation=envelope([_raised(s, *(tape.before_first_use or (0, size))) for s in recomputed]),
            body=body,
            leaves_body=self.layers.leaves_body,
            shares=shares,
            reads=reads,
            leaves=exchange.leaves,
            takes=exchange.takes,
            output_requires_grad=variable is not None,
        )


def _raised(snapshot: RawSnapshot, fixed: int, per_sample: int) -> RawSnapshot:
    return (snapshot[0] + fixed, snapshot[1] + per_sample, *snapshot[2:])
