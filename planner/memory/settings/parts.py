"""Holds what was measured of one part of a model while it ran on symbolic tensors, and joins parts to a model."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from planner.memory.autograd.marks import Happened
from planner.memory.autograd.tape import Saved, Snapshot
from planner.memory.settings.dtypes import FP32
from planner.memory.settings.exchange import Shared
from planner.memory.settings.log import PartLog
from planner.memory.settings.snapshots import RawSnapshot, envelope, raised
from planner.memory.settings.work import Work


class CheckpointedForward(NamedTuple):
    """Holds what was measured of the forward of a checkpointed block.

    It keeps only the block's input, arguments of its own and what a policy says. Pairs are (fixed, per-sample) bytes.
    """

    instants: Sequence[RawSnapshot]
    held: tuple[int, int]
    """Bytes kept until the end of the whole forward pass."""
    saved: Sequence[Saved]
    """What is kept until backward."""
    input_bytes: int
    """Bytes per sample of the block's input. An input that was offloaded to the host exists only for the recomputation,
    or for longer if the block saves it."""
    arguments: tuple[int, int]
    """Bytes of the block's arguments other than hidden states."""
    work: Work
    """Its work, whose bytes to the host move a second time in backward."""
    kept: tuple[int, int]
    """Bytes that stay until the graph of the step is gone."""
    body: tuple[int, int]
    """The part of `held` that a body of the model keeps until it returns."""
    shares: Mapping[str, Shared]
    """Tensors that it makes for later parts and does not save itself, by name."""
    happened: tuple[Happened, ...]
    """What happens to parameters in it, where it is marked."""


class Part(NamedTuple):
    """Holds what was measured of one part of a model (stem, block, head or loss), traced alone.

    Bytes are counted from just before the part's input existed. Pairs are (fixed, per-sample) bytes.
    """

    forward: tuple[Snapshot, ...]
    """The largest instants of its forward."""
    backward: tuple[Snapshot, ...]
    """The largest instants of its backward, from when its output's gradient exists; what forward saved is included."""
    held: tuple[int, int]
    """Bytes kept from its forward until the end of the whole forward pass, saved ones included."""
    saved: tuple[int, int]
    """Bytes kept from its forward until its backward."""
    kept: tuple[int, int]
    """The part of `saved` that its backward does not free: it stays until the graph of the step is gone."""
    gradients: int
    """Bytes of finished parameter gradients that its backward leaves, in the dtype of the computation."""
    forward_work: Work
    """Work of its forward; of a recomputation, until it stops."""
    backward_work: Work
    saved_tensors: tuple[Saved, ...]
    """Every tensor that backward needs; with what this part shares for others, their bytes add up to `saved`."""
    recomputation: tuple[Snapshot, ...]
    """The largest instants of its recomputation in backward, which stops at the last tensor that backward needs.

    Included are the part's input and the gradients that exist by then: those that backward makes, from that of the
    output on, before it asks for the first saved tensor.
    """
    output_requires_grad: bool = True
    output_itemsize: int = FP32
    """Bytes per element of the hidden states that it returns."""
    output_bytes: int = 0
    """Bytes per sample of these hidden states, and also of their gradient."""
    embedded_bytes: int = 0
    """For a stem, bytes per sample of the embedding that a variable of transformers' `...Model.forward` keeps alive."""
    holds_output: bool = False
    """For a stem, whether this embedding is its output."""
    input_bytes: int = 0
    """Bytes per sample of the hidden states or logits that it starts from."""
    saves_input: bool = False
    """Whether it saves its input for backward."""
    casts_input: bool = False
    """Whether autocast casts its input itself: a copy that is cached if the input is a leaf."""
    frame_bytes: int = 0
    """Bytes per sample of hidden states that reentrant checkpointing holds until the part's backward is over: input,
    recomputed output, and the gradient of it (torch/utils/checkpoint.py, `CheckpointFunction.backward`)."""
    returned: Snapshot | None = None
    """For a loss, the instant after the model's forward has returned, or None.

    Its logits are then copied in fp32 (accelerate, `convert_outputs_to_fp32`); what backward needs is included.
    """
    outputs: tuple[int, int] = (0, 0)
    """For a loss, bytes of what the model returns and backward does not need, the logits among them."""
    leaf: tuple[int, int] = (0, 0)
    """Bytes of leaves of the graph that are no parameters: they, and their gradients, live as long as the graph."""
    body: tuple[int, int] = (0, 0)
    """The part of `held` that a body of the model (a stack of blocks) keeps until it returns."""
    output_saved: bool = False
    """Whether autograd keeps its output, as a leaf of the graph, until backward is over."""
    leaves_body: bool = False
    """Whether a body of the model returns just before this part's forward begins, or soon after."""
    shares: Mapping[str, Shared] = MappingProxyType({})
    """Tensors that it makes for later parts and does not save itself, by name."""
    masks: tuple[int, int] = (0, 0)
    """For a stem, bytes of the masks that checkpointed blocks take as arguments."""
    reads: frozenset[str] = frozenset()
    """Names of the tensors shared by other parts that its backward needs."""
    leaves: tuple[int, int] = (0, 0)
    """Bytes of gradients that its backward leaves for earlier parts."""
    takes: tuple[int, int] = (0, 0)
    """Bytes of gradients that later parts left for it and its backward consumes; they are counted here."""
    before_prefetch: tuple[Snapshot, ...] = ()
    """The largest instants of its backward until a unit within it prefetches the part before it; empty where the part
    itself does."""
    after_prefetch: tuple[Snapshot, ...] = ()
    """The largest instants from then on."""
    drops: tuple[int, int] = (0, 0)
    """Bytes that earlier parts hold in forward and that are freed before this one runs."""
    forward_happened: tuple[Happened, ...] = ()
    """What happens to parameters in its forward, where it is marked."""
    again_happened: tuple[Happened, ...] = ()
    """The same in its recomputation."""
    backward_happened: tuple[Happened, ...] = ()
    """The same in its backward, after the recomputation of a checkpointed block."""
    again_work: Work = Work()
    """The part of `backward_work` that computes forward again."""
    log: PartLog | None = None
    """Everything that it allocates and releases, where that is logged."""

    def recomputed(self, of: CheckpointedForward) -> "Part":
        """Returns this block under checkpointing: its backward computes the block again after that forward.

        Source: torch.utils.checkpoint, non-reentrant with `early_stop`, or reentrant.
        """
        # A leaf that it has made for later blocks lives beside the one that it makes again.
        fixed, beside = of.arguments[0] + self.leaf[0], of.arguments[1] + self.leaf[1]
        beside += 0 if self.saves_input or of.work.host_bytes_per_sample else of.input_bytes

        def of_backward(instants: Sequence[Snapshot], first: Sequence[Snapshot] = ()) -> tuple[Snapshot, ...]:
            again = [*(raised(s, *self.leaf) for s in first), *(raised(s, fixed, beside) for s in instants)]
            return envelope([raised(s, *of.kept) for s in again] if any(of.kept) else again)

        return Part(
            forward=envelope(of.instants),
            backward=of_backward(self.backward, self.recomputation),
            before_prefetch=of_backward(self.before_prefetch, self.recomputation) if self.before_prefetch else (),
            after_prefetch=of_backward(self.after_prefetch),
            held=of.held,
            saved=(of.kept[0] + sum(s.fixed for s in of.saved), of.kept[1] + sum(s.per_sample for s in of.saved)),
            kept=of.kept,
            gradients=self.gradients,
            forward_work=of.work,
            backward_work=self.backward_work.plus(self.forward_work).plus(
                Work(host_bytes_per_sample=of.work.host_bytes_per_sample)
            ),
            saved_tensors=tuple(of.saved),
            recomputation=(),
            output_requires_grad=self.output_requires_grad,
            output_itemsize=self.output_itemsize,
            output_bytes=self.output_bytes,
            input_bytes=of.input_bytes,
            saves_input=not of.work.host_bytes_per_sample,
            casts_input=self.casts_input,
            frame_bytes=self.frame_bytes and self.frame_bytes + of.input_bytes,
            leaf=self.leaf,
            body=of.body,
            shares=of.shares,
            reads=self.reads,
            leaves=self.leaves,
            takes=self.takes,
            forward_happened=of.happened,
            backward_happened=(
                *(h.raised(*of.kept) for h in self.again_happened),
                *(h.raised(fixed + of.kept[0], beside + of.kept[1]) for h in self.backward_happened),
            ),
            again_work=self.forward_work,
        )


def joined(
    parts: Sequence[Part],
    *,
    checkpointed: bool,
    reentrant: bool = False,
    offloaded: Collection[str] = (),
    positional: Collection[str] = (),
    keeps_outputs: bool = False,
) -> list[Part]:
    """Returns the parts of a model with what they hold and save of each other's tensors.

    Args:
        parts: Stem, blocks, head and loss, in order, each traced alone.
        checkpointed: Whether blocks are checkpointed and thus save their arguments, shared tensors included.
        reentrant: Whether they are so by torch's `CheckpointFunction`, whose context refers to the named arguments
            until the graph of the step is gone (torch/utils/checkpoint.py, `ctx.run_function`).
        offloaded: Names of shared tensors that checkpointed blocks move to the host instead of saving them.
        positional: Names of shared tensors that blocks receive as positional arguments, which `CheckpointFunction`
            saves, so that backward frees them.
        keeps_outputs: Whether the training loop keeps what the model returns through backward.
    """
    read: frozenset[str] = frozenset().union(*(part.reads for part in parts))
    copies = parts[-1].returned is not None
    found: list[Part] = []
    body, returned, outputs, outlives = (0, 0), 0, parts[-1].outputs[1], (0, 0)
    for part in parts:
        if part.leaves_body:
            part = part._replace(drops=body)
            body = (0, 0)
        body = body[0] + part.body[0], body[1] + part.body[1]
        if any(outlives):
            part = part._replace(kept=(part.kept[0] + outlives[0], part.kept[1] + outlives[1]))
        if any(part.leaf) and found and not reentrant:  # a leaf and its gradient, which the graph's edges refer to
            (kept, varying), (leaf, of_samples) = part.kept, part.leaf
            part = part._replace(kept=(kept + 2 * leaf, varying + 2 * of_samples), leaf=(0, 0))
        outlives = part.masks if reentrant else (0, 0)
        for name, shared in part.shares.items():
            fixed, per_sample = shared.num_bytes
            if (checkpointed and not shared.cast and name not in offloaded) or name in read:
                part = part._replace(saved=(part.saved[0] + fixed, part.saved[1] + per_sample))
                if reentrant and name not in positional:
                    outlives = outlives[0] + fixed, outlives[1] + per_sample
                if shared.in_body:
                    body = body[0] - fixed, body[1] - per_sample
                per_sample = 0
            if shared.returned:
                copy = shared.per_sample * FP32 if copies and shared.itemsize < FP32 else 0
                returned, outputs = returned + per_sample + copy, outputs + (copy or per_sample)
                if keeps_outputs and not copy and not per_sample:  # backward, which needs it, does not free it
                    part = part._replace(kept=(part.kept[0], part.kept[1] + shared.num_bytes[1]))
        found.append(part)
    if (at := parts[-1].returned) is not None:
        found[-1] = found[-1]._replace(returned=at._replace(per_sample=at.per_sample + returned))
    found[-1] = found[-1]._replace(outputs=(parts[-1].outputs[0], outputs))
    return found
