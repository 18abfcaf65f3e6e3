"""What is known of one part of a model when it has run on symbolic tensors, and how parts are joined to a model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple, TypeVar

from planner.memory.autograd.tape import Snapshot, Storage
from planner.memory.settings.dtypes import FP32
from planner.memory.settings.exchange import Shared


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
    output_itemsize: int = FP32
    """Of the hidden states that it returns."""
    output_bytes: int = 0
    """Per sample, of these, and of their gradient."""
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
        arguments: tuple[int, int],
        work: Work,
        kept: tuple[int, int],
    ) -> Part:
        """This block under checkpointing: `forward`, `held`, `work`, `kept` are those of a run that saved nothing but
        the input, arguments of its own and what is kept; backward computes the block again first
        (torch.utils.checkpoint, non-reentrant, `early_stop`). An input from the host is there for the recomputation,
        and longer if that saves it."""
        fixed, beside = arguments
        beside += 0 if self.saves_input or work.host_bytes_per_sample else input_bytes
        again = [*self.recomputation, *(raised(s, fixed, beside) for s in self.backward)]
        return Part(
            forward=envelope(forward),
            backward=envelope([raised(s, *kept) for s in again] if any(kept) else again),
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
            output_itemsize=self.output_itemsize,
            output_bytes=self.output_bytes,
            input_bytes=input_bytes,
            saves_input=not work.host_bytes_per_sample,
            body=self.body,
            reads=self.reads,
            leaves=self.leaves,
            takes=self.takes,
        )


def joined(parts: Sequence[Part], *, checkpointed: bool, offloaded: Collection[str] = ()) -> list[Part]:
    """The parts of a model in order, with what they hold and save of each other. `checkpointed`: blocks save their
    arguments, all that is shared among them but what is `offloaded`."""
    read: frozenset[str] = frozenset().union(*(part.reads for part in parts))
    found, body, returned = [], (0, 0), 0
    for part in parts:
        if part.leaves_body:
            part = part._replace(drops=body)
            body = (0, 0)
        body = body[0] + part.body[0], body[1] + part.body[1]
        for name, shared in part.shares.items():
            fixed, per_sample = shared.num_bytes
            if (checkpointed and not shared.cast and name not in offloaded) or name in read:
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


def raised(snapshot: RawSnapshot, fixed: int, per_sample: int) -> RawSnapshot:
    return (snapshot[0] + fixed, snapshot[1] + per_sample, *snapshot[2:])
