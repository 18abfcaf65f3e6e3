"""Runs the parts of a model once on symbolic tensors: what each keeps, its peaks in forward and backward, its work."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from planner.memory import loss as losses
from planner.memory.compiled import CompiledLayers
from planner.memory.exchange import Exchange, Shared
from planner.memory.fused_loss import FUSED, Chunk
from planner.memory.layers import Layers
from planner.memory.liger import LigerLayers
from planner.memory.masks import masks_of
from planner.memory.numerics import FP32, Numerics
from planner.memory.recompute import Keeping, Kept, Taking
from planner.memory.sdpa import Selection
from planner.memory.tape import Snapshot, Storage, Tape, Tensor, Variable
from planner.memory.trained import Trained, trained_at_ends
from planner.models import Architecture
from planner.models.liger import patch_of
from strategies import AnyOptimizer, Attention, CheckpointingFacts, Checkpoints, Kernels, Lora, Loss, Method

LAYERS: dict[Kernels, type[Layers]] = {Kernels.EAGER: Layers, Kernels.LIGER: LigerLayers, Kernels.COMPILE: Layers}
WITHIN_BLOCKS = LAYERS | {Kernels.COMPILE: CompiledLayers}


class Work(NamedTuple):
    """Work of one pass through a part: `x_per_sample x micro_batch_size + x_fixed`."""

    half_flops_per_sample: int = 0
    fp32_flops_per_sample: int = 0
    bytes_per_sample: int = 0
    fixed_bytes: int = 0
    host_bytes_per_sample: int = 0
    """To the host's memory or from it."""
    fp8_flops_per_sample: int = 0

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
    kept: tuple[int, int]
    """(fixed, per sample) of that what its backward does not free: it stays until the graph of the step is gone."""
    gradients: int
    """Bytes of finished parameter gradients that its backward leaves, in the dtype of the computation."""
    forward_work: Work
    backward_work: Work
    saved_tensors: tuple[tuple[str, int, int], ...]
    """Name, fixed and per-sample bytes of everything that backward needs."""
    recomputation: tuple[Snapshot, ...]
    """Its forward up to the last tensor that backward needs, while gradients wait: those that backward makes, from that
    of its output on, until it asks for the first of these tensors. Its input is included."""
    output_requires_grad: bool = True
    embedded_bytes: int = 0
    """Of a stem, per sample: what a variable of the forward of transformers' ...Model refers to until that returns."""
    holds_output: bool = False
    """And that is its output."""
    input_bytes: int = 0
    """Per sample, of the hidden states or logits that it starts from."""
    saves_input: bool = False
    returned: Snapshot | None = None
    """Of a loss: the model's forward is over, and its logits are copied in fp32 (accelerate, `convert_outputs_to_fp32`)
    with what backward needs."""
    body: tuple[int, int] = (0, 0)
    """(fixed, per sample) of `held` that a body of the model (a stack of blocks) keeps until it returns."""
    output_saved: bool = False
    """By autograd, as a leaf, until backward is over."""
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
    drops: tuple[int, int] = (0, 0)
    """(fixed, per sample) of what earlier parts hold in forward that is freed before this one runs."""

    def recomputed(
        self,
        forward: list[RawSnapshot],
        held: tuple[int, int],
        saved: Sequence[Storage],
        input_bytes: int,
        argument_bytes: int,
        work: Work,
        kept: tuple[int, int],
    ) -> Part:
        """This block under checkpointing: `forward`, `held`, `work`, `kept` are those of a run that saved nothing but
        the input, arguments of its own and what is kept; backward computes the block again first
        (torch.utils.checkpoint, non-reentrant, `early_stop`). An input from the host is there for the recomputation,
        and longer if that saves it."""
        beside = argument_bytes + (0 if self.saves_input or work.host_bytes_per_sample else input_bytes)
        again = [*self.recomputation, *(_raised(s, 0, beside) for s in self.backward)]
        return Part(
            forward=envelope(forward),
            backward=envelope([_raised(s, *kept) for s in again] if any(kept) else again),
            held=held,
            saved=(kept[0] + sum(s.fixed for s in saved), kept[1] + sum(s.per_sample for s in saved)),
            kept=kept,
            gradients=self.gradients,
            forward_work=work,
            backward_work=self.backward_work.plus(self.forward_work).plus(
                Work(host_bytes_per_sample=work.host_bytes_per_sample)
            ),
            saved_tensors=tuple((s.name, s.fixed, s.per_sample) for s in saved),
            recomputation=(),
            output_requires_grad=self.output_requires_grad,
            input_bytes=input_bytes,
            saves_input=not work.host_bytes_per_sample,
            body=self.body,
            reads=self.reads,
            leaves=self.leaves,
            takes=self.takes,
        )


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

    __slots__ = (
        "attention",
        "evaluates",
        "kernels",
        "loss",
        "method",
        "numerics",
        "selection",
        "sequence_length",
        "updates",
    )

    def __init__(
        self,
        numerics: Numerics,
        method: Method,
        attention: Attention,
        loss: Loss,
        kernels: Kernels,
        sequence_length: int,
        selection: Selection,
        updates: AnyOptimizer | None = None,
        evaluates: bool = False,
    ) -> None:
        """`updates`: the optimizer that steps each parameter in backward. `evaluates`: forward passes keep nothing for
        backward."""
        self.numerics, self.method, self.attention = numerics, method, attention
        self.loss, self.kernels = loss, kernels
        self.sequence_length, self.selection = sequence_length, selection
        self.updates, self.evaluates = updates, evaluates


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


STEM, HEAD, LOSS = "stem", "head", "loss"


class Tracer:
    """Traces the parts of one architecture under one setting."""

    def __init__(
        self, architecture: Architecture, setting: Setting, steps: Callable[[Hashable, Trained], Mapping[str, int]]
    ) -> None:
        """`steps`: of a part (STEM, HEAD or a kind of block) where so much trains, what updates of its parameters in
        backward allocate."""
        self.architecture, self.setting, self.steps = architecture, setting, steps
        tied, again = architecture.tied_to is not None, architecture.embeds_again is not None
        self.ends = trained_at_ends(setting.method, tied=tied)
        self.tied_gradient = (tied or again) and self.ends.embedding and not isinstance(setting.method, Lora)
        self._rope_itemsize = 0
        self._known: dict[str, Shared] = {}

    def _layers(
        self,
        part: Hashable,
        trained: Trained,
        *,
        keep_saved: bool = True,
        recomputed: bool = False,
        kinds: Mapping[Kernels, type[Layers]] = LAYERS,
    ) -> Layers:
        s = self.setting
        layers = kinds[s.kernels](
            Tape(keep_saved=keep_saved and not s.evaluates, steps=self.steps(part, trained), recomputed=recomputed),
            numerics=s.numerics.of_trained() if trained.weights else s.numerics,
            method=s.method,
            trained=trained,
            attention=s.attention,
            sequence_length=s.sequence_length,
            selection=s.selection,
        )
        if isinstance(layers, LigerLayers):
            layers.norm_in_place = patch_of(self.architecture.model_type).norm_in_place
        layers.rope_itemsize, layers.mask_itemsize = self._rope_itemsize, s.numerics.other  # that of the embeddings
        layers.exchange = Exchange(self._known)
        return layers

    def stem(self, checkpointing: Checkpoints, *, output_requires_grad: bool) -> tuple[Part, int]:
        """The embeddings, and the item size of the hidden states that they start."""
        layers = self._layers(STEM, self.ends)
        run = _Run(layers)
        again = self.architecture.embeds_again is not None
        if self.tied_gradient:
            # The head's gradient of the shared weight waits for the embedding's; it is on the head's account. As a
            # transposed product it is a view, unless autocast's cast stands between, or another one has been added.
            viewed = self.setting.numerics.autocast is None and not again and not self.setting.loss.is_fused
            layers.await_gradient(f"{self.architecture.embedding_name}.weight", viewed=viewed)
        layers.input_requires_grad = output_requires_grad
        x = self.architecture.stem(layers)
        self._rope_itemsize = layers.rope_itemsize
        output_saved = layers.leaf is not None and layers.leaf.storage is x.storage
        if layers.leaf is not None and not output_saved:
            layers.tape.save(layers.leaf)
        embedded = layers.embedded
        embedded_bytes = embedded.per_sample if embedded is not None and not embedded.saved else 0
        holds_output = embedded is x.storage
        del embedded
        itemsize = x.itemsize
        stem = run.finish(x)._replace(
            embedded_bytes=embedded_bytes, holds_output=holds_output, output_saved=output_saved
        )
        s = self.setting
        masks = masks_of(self.architecture, s.attention, s.numerics, s.sequence_length, s.selection.batching)
        held = stem.held[0] + masks.fixed, stem.held[1] + masks.per_sample
        # A checkpointed block keeps its arguments until it has been computed again, the mask among them.
        saved, body = stem.saved, stem.body
        if masks.saved or checkpointing.recomputes:
            saved = saved[0] + masks.fixed, saved[1] + masks.per_sample
        else:
            body = body[0] + masks.fixed, body[1] + masks.per_sample
        return stem._replace(held=held, saved=saved, body=body), itemsize

    def block(
        self,
        kind: Hashable,
        trained: Trained,
        itemsize: int,
        *,
        input_requires_grad: bool,
        checkpoints: bool,
        again: bool = False,
        kept: Sequence[Kept | None] | None = None,
    ) -> Part:
        """`checkpoints`: blocks are. `again`: as it is computed again in backward, by a graph of its own that is gone
        when that is done. `kept`: what a checkpointed forward has left for that."""
        layers = self._layers(kind, trained, recomputed=again, kinds=WITHIN_BLOCKS)
        layers.checkpoints = layers.input_requires_grad = checkpoints
        if kept is not None:
            layers.made = Taking(layers.tape, kept)
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input")
        held_by_caller = x.storage
        assert held_by_caller is not None
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        if layers.leaf is not None:
            layers.tape.save(layers.leaf)
        input_saved, input_bytes = held_by_caller.saved, held_by_caller.per_sample
        del x, held_by_caller
        return run.finish(out, again=again)._replace(saves_input=input_saved, input_bytes=input_bytes)

    def checkpointed_block(
        self,
        kind: Hashable,
        trained: Trained,
        itemsize: int,
        facts: CheckpointingFacts,
        plain: Part,
        *,
        input_requires_grad: bool,
    ) -> Part:
        """A forward that drops everything but its input and what is kept, and in backward the block once more
        (torch.utils.checkpoint, non-reentrant): as `plain`, where nothing is kept."""
        layers = self._layers(kind, trained, keep_saved=False, kinds=WITHIN_BLOCKS)
        layers.made = keeping = Keeping(layers.tape, facts.keeps)
        layers.checkpoints = True
        run = _Run(layers)
        x = layers.input(self.architecture.hidden_size, itemsize, input_requires_grad, "block input")
        given = x.storage
        assert given is not None
        input_bytes, saved = given.per_sample, [given]
        if facts.offloads:
            saved.clear()  # it has been copied to the host before the block begins (`save_on_cpu`)
        else:
            given.mark_saved()
        del given
        out = layers.leave_block(self.architecture.block(layers, x, kind))
        arguments = list(layers.arguments)
        for argument in arguments:
            argument.mark_saved()
        layers.arguments.clear()
        del x
        before = layers.probabilities if self.architecture.returns_probabilities else None
        carried = before.per_sample if before is not None else 0
        del before
        forward, held = run.forward(out)
        forward = [_raised(s, 0, carried) for s in forward]
        body, shares = layers.unsaved_in_body(out), layers.exchange.not_saved(layers.body)
        layers.tape.forget()
        again = plain
        if facts.keeps:
            again = self.block(
                kind,
                trained,
                itemsize,
                input_requires_grad=input_requires_grad,
                checkpoints=True,
                again=True,
                kept=keeping.kept(),
            )
        work = run.work()._replace(host_bytes_per_sample=input_bytes if facts.offloads else 0)
        kept = layers.tape.kept_bytes(but=saved[0] if saved else None)
        of_arguments = sum(argument.per_sample for argument in arguments)
        saved += [*arguments, *keeping.storages]
        part = again.recomputed(forward, held, saved, input_bytes, of_arguments, work, kept)
        return part._replace(body=body, shares=shares)

    def head(
        self, itemsize: int, *, input_requires_grad: bool, embedded_bytes: int, chunk_tokens: int | None
    ) -> tuple[Part, Part]:
        """Final norm with the language-model head, and the loss.

        Args:
            embedded_bytes: per sample, of what the model's body holds of the embedding until the norm has returned.
            chunk_tokens: see `fused_loss`.
        """
        layers = self._layers(HEAD, self.ends)
        if self.setting.loss in FUSED:
            chunk = Chunk(chunk_tokens, self.setting.selection.has_flash)
            layers.loss = partial(FUSED[self.setting.loss], layers, chunk)
        run = _Run(layers)
        layers.embedded = layers.tape.storage(0, embedded_bytes)
        hidden_size = self.architecture.hidden_size
        # No variable holds the input here: the backbone's own is the norm's output from then on.
        logits = self.architecture.head(
            layers, layers.input(hidden_size, itemsize, input_requires_grad, "final hidden states")
        )
        input_bytes = layers.sequence_length * hidden_size * itemsize
        elements, width, logits_itemsize = logits.per_sample, logits.width, logits.itemsize
        head = run.finish(logits)._replace(input_bytes=input_bytes, leaves_body=True)
        if self.setting.loss in FUSED:
            return head, self._nothing_more(logits)

        layers = self._layers(LOSS, Trained())
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

    def _nothing_more(self, loss: Tensor) -> Part:
        """Behind a head that returned the loss."""
        layers = self._layers(LOSS, Trained())
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

    def work(self) -> Work:
        cost = self.layers.tape.cost
        flops = cost.flops_per_sample
        return Work(flops[2], flops[4], cost.bytes_per_sample, cost.fixed_bytes, fp8_flops_per_sample=flops[1])

    def forward(self, out: Tensor) -> tuple[list[RawSnapshot], tuple[int, int]]:
        """The instants of the forward, and what stays until the whole forward pass is over."""
        snapshots = self.meter.mark()
        self.layers.probabilities = None
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
            recomputation=envelope([_raised(s, *(tape.before_first_use or (0, size))) for s in recomputed]),
            body=body,
            leaves_body=self.layers.leaves_body,
            shares=shares,
            reads=reads,
            leaves=exchange.leaves,
            takes=exchange.takes,
        )


def _raised(snapshot: RawSnapshot, fixed: int, per_sample: int) -> RawSnapshot:
    return (snapshot[0] + fixed, snapshot[1] + per_sample, *snapshot[2:])
