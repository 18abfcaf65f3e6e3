"""Runs the parts of a model once on symbolic tensors: what each keeps, its peaks in forward and backward, its work."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import NamedTuple, TypeVar

from planner.memory import loss as losses
from planner.memory.attention import mask_bytes
from planner.memory.compiled import CompiledLayers
from planner.memory.fused_loss import FUSED, Chunk
from planner.memory.layers import Layers
from planner.memory.liger import LigerLayers
from planner.memory.numerics import FP32, Numerics
from planner.memory.sdpa import Selection
from planner.memory.tape import Snapshot, Tape, Tensor, Variable
from planner.models import Decoder
from planner.models.liger import patch_of
from strategies import Attention, Checkpointing, Full, Kernels, Loss, Method

LAYERS: dict[Kernels, type[Layers]] = {Kernels.EAGER: Layers, Kernels.LIGER: LigerLayers, Kernels.COMPILE: Layers}
WITHIN_BLOCKS = LAYERS | {Kernels.COMPILE: CompiledLayers}


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
    returned: tuple[Snapshot, ...] = ()
    """When the whole forward pass has returned, before backward."""
    lent: tuple[int, int] = (0, 0)
    """(fixed, per sample) that variables of the backbone keep alive while the blocks run: masks, embeddings."""
    output_lent: int = 0
    """Per sample, the same of the output: behind the first block, unless that saves it."""

    def recomputed(self, forward: list[RawSnapshot], held: tuple[int, int], input_bytes: int) -> Part:
        """This block under full checkpointing: `forward` and `held` are those of a run that saved nothing but the
        input; backward computes the block again first (torch.utils.checkpoint, non-reentrant, `early_stop`)."""
        kept = 0 if self.saves_input else input_bytes
        again = [*self.recomputation, *(_raised(s, 0, kept) for s in self.backward)]
        return Part(
            forward=envelope(forward),
            backward=envelope(again),
            held=held,
            saved=(0, input_bytes),
            gradients=self.gradients,
            forward_work=self.forward_work,
            backward_work=self.backward_work.plus(self.forward_work),
            saved_tensors=(("block input", 0, input_bytes),),
            recomputation=(),
            input_bytes=input_bytes,
            saves_input=True,
        )


RawSnapshot = tuple[int, int, int, int, int]
"""The fields of a Snapshot, as the meter appends them."""
R = TypeVar("R", bound=tuple[int, ...])


class Setting:
    """All that the bytes of a part depend on, besides the model. Compared by identity: `Traced` makes each once."""

    __slots__ = ("attention", "kernels", "loss", "method", "numerics", "selection", "sequence_length")

    def __init__(
        self,
        numerics: Numerics,
        method: Method,
        attention: Attention,
        loss: Loss,
        kernels: Kernels,
        sequence_length: int,
        selection: Selection,
    ) -> None:
        self.numerics, self.method, self.attention = numerics, method, attention
        self.loss, self.kernels = loss, kernels
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

    def __init__(self, architecture: Decoder, setting: Setting) -> None:
        self.architecture, self.setting = architecture, setting
        self._rope_itemsize = self._itemsize = 0

    def _layers(self, *, keep_saved: bool = True, kinds: Mapping[Kernels, type[Layers]] = LAYERS) -> Layers:
        s = self.setting
        layers = kinds[s.kernels](
            Tape(keep_saved=keep_saved),
            numerics=s.numerics,
            method=s.method,
            attention=s.attention,
            sequence_length=s.sequence_length,
            selection=s.selection,
        )
        if isinstance(layers, LigerLayers):
            layers.norm_in_place = patch_of(self.architecture.model_type).norm_in_place
        layers.rope_itemsize, layers.mask_itemsize = self._rope_itemsize, self._itemsize
        return layers

    def stem(self, checkpointing: Checkpointing, *, output_requires_grad: bool) -> tuple[Part, int]:
        """The embeddings, and the item size of the hidden states that they start."""
        layers = self._layers()
        run = _Run(layers)
        if self.architecture.tied_to is not None and isinstance(self.setting.method, Full):
            # The head's gradient of the shared weight waits for the embedding's; it is on the head's account. As a
            # transposed product it is a view, unless autocast's cast stands between.
            waiting = Variable(parameter=True)
            waiting.gradient = layers.tape.storage(0, 0)
            waiting.gradient.viewed = self.setting.numerics.autocast is None and not self.setting.loss.is_fused
            layers.parameters[f"{self.architecture.tied_to}.weight"] = waiting
        layers.input_requires_grad = output_requires_grad
        x = self.architecture.stem(layers)
        self._rope_itemsize = layers.rope_itemsize
        if layers.leaf is not None and layers.leaf.storage is not x.storage:
            layers.tape.save(layers.leaf)
        self._itemsize = x.itemsize
        embedded, layers.embedded = layers.embedded, None
        lent = 0 if embedded is None or embedded.saved else embedded.per_sample
        is_output = embedded is x.storage
        del embedded
        stem = run.finish(x)
        architecture, s = self.architecture, self.setting
        masks = mask_bytes(
            s.attention,
            s.sequence_length,
            self._itemsize,
            masks=architecture.num_masks,
            window=architecture.window,
        )
        if checkpointing is Checkpointing.FULL:
            # A checkpointed block keeps its arguments until it has been computed again, the masks among them.
            held, saved = (_sum(kept, masks) for kept in (stem.held, stem.saved))
            stem, masks = stem._replace(held=held, saved=saved), (0, 0)
        lent, output_lent = (0, lent) if is_output else (lent, 0)
        return stem._replace(lent=_sum(masks, (0, lent)), output_lent=output_lent), self._itemsize

    def block(self, kind: Hashable, itemsize: int, *, input_requires_grad: bool, cuts: bool = True) -> Part:
        layers = self._layers(kinds=WITHIN_BLOCKS)
        if isinstance(layers, CompiledLayers):
            layers.tape.cuts = cuts
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input")
        held_by_caller = x.storage
        assert held_by_caller is not None
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        input_saved, input_bytes = held_by_caller.saved, held_by_caller.per_sample
        del x, held_by_caller
        return run.finish(out)._replace(saves_input=input_saved, input_bytes=input_bytes)

    def checkpointed_block(self, kind: Hashable, itemsize: int, plain: Part) -> Part:
        """`plain` under full checkpointing: a forward that drops everything but its input, and in backward the block
        once more (torch.utils.checkpoint, non-reentrant)."""
        layers = self._layers(keep_saved=False, kinds=WITHIN_BLOCKS)
        if isinstance(layers, CompiledLayers):
            plain = self.block(kind, itemsize, input_requires_grad=True, cuts=False)
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, True, "block input")
        kept = x.storage
        assert kept is not None
        kept.mark_saved()
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        del x
        forward, held = run.forward(out)
        layers.tape.forget()
        return plain.recomputed(forward, held, kept.per_sample)

    def head(self, itemsize: int, chunk_tokens: int | None) -> tuple[Part, Part]:
        """Final norm with the language-model head, and the loss. `chunk_tokens`: see `fused_loss`."""
        layers = self._layers()
        if self.setting.loss in FUSED:
            chunk = Chunk(chunk_tokens, self.setting.selection.has_flash)
            layers.loss = partial(FUSED[self.setting.loss], layers, chunk)
        run = _Run(layers)
        hidden = self.architecture.hidden_size
        # No variable holds the input here: the backbone's own is the norm's output from then on.
        logits = self.architecture.head(layers, layers.input(hidden, itemsize, True, "final hidden states"))
        width, logits_itemsize = logits.width, logits.itemsize
        input_bytes = self.setting.sequence_length * hidden * itemsize
        head = run.finish(logits)._replace(input_bytes=input_bytes)
        if self.setting.loss in FUSED:
            return head, self._nothing_more(logits)

        layers = self._layers()
        run = _Run(layers)
        logits = layers.input(width, logits_itemsize, True, "logits")
        loss = losses.LOSSES[self.setting.loss](layers, logits)
        del logits
        part = run.finish(loss)
        if self.setting.numerics.autocast is not None:  # accelerate, `convert_outputs_to_fp32`
            elements = self.setting.sequence_length * width
            copied = Snapshot(0, elements * (logits_itemsize + FP32), 0, 0, 0)
            part = part._replace(returned=(copied.above(part.saved),))
        return head, part

    def _nothing_more(self, loss: Tensor) -> Part:
        """Behind a head that returned the loss."""
        layers = self._layers()
        run = _Run(layers)
        return run.finish(layers.tensor(loss.per_sample, loss.width, loss.itemsize, "loss"))


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
        instants = self.meter.mark()
        self.layers.returned = None
        return instants, self._live_without(out)

    def finish(self, out: Tensor) -> Part:
        tape, meter = self.layers.tape, self.meter
        forward, held = self.forward(out)
        recomputed = forward[: tape.snapshots_at_last_save]
        self.layers.leave_forward()
        saved, forward_work, names = self._live_without(out), self._work(), tuple(tape.saved)
        size, variable = out.storage.per_sample if out.storage is not None else 0, out.variable
        out.storage = None
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
        )


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def _raised(snapshot: RawSnapshot, fixed: int, per_sample: int) -> RawSnapshot:
    return (snapshot[0] + fixed, snapshot[1] + per_sample, *snapshot[2:])
