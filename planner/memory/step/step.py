"""Composes a training step from its traced parts: bytes at the largest instants, linear in the micro-batch."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from planner.memory.autograd.tape import Snapshot
from planner.memory.settings.parts import Part
from planner.memory.sharding.layout import Extra, Layout


class Moment(StrEnum):
    """The moments of a step that can be its peak, and those before and between steps."""

    LOADING = "loading"
    """Loading a base that is quantized on the GPU, all of it on each before ranks divide it."""
    FORWARD = "forward"
    END_OF_FORWARD = "end_of_forward"
    START_OF_BACKWARD = "start_of_backward"
    BLOCK_BACKWARD = "block_backward"
    EMBEDDING_BACKWARD = "embedding_backward"
    BACKWARD = "backward"
    """The whole backward, where a model is known only by its replays."""
    OPTIMIZER_STEP = "optimizer_step"
    EVALUATION = "evaluation"
    """An evaluation between steps, where one is asked for."""
    SAVING = "saving"
    """Saving a sharded model between steps."""


COMPOSED = (
    Moment.FORWARD,
    Moment.END_OF_FORWARD,
    Moment.START_OF_BACKWARD,
    Moment.BLOCK_BACKWARD,
    Moment.EMBEDDING_BACKWARD,
)


class Line(NamedTuple):
    """Bytes at one instant, `fixed + per_sample x micro_batch_size`, with the bytes of each category.

    Attributes:
        fixed: Bytes whatever the micro-batch.
        per_sample: Bytes per sample.
        activations_fixed: Fixed bytes of activations.
        activations_per_sample: Bytes per sample of activations.
        gradients: Bytes of finished gradients.
        unsharded: Bytes of gathered parameters.
        communication: Bytes of communication buffers.
    """

    fixed: int
    per_sample: int
    activations_fixed: int
    activations_per_sample: int
    gradients: int
    unsharded: int
    communication: int

    def at(self, micro_batch_size: int) -> int:
        """Returns the bytes at a micro-batch size in samples."""
        return self.fixed + self.per_sample * micro_batch_size


Lines = dict[Moment, tuple[Line, ...]]
"""For each moment the lines that can be its peak."""


class Position(NamedTuple):
    """One part in its place, with the (fixed, per-sample) bytes of other parts that are alive while it runs."""

    place: int
    """Number of the part; the stem is 0."""
    part: Part
    held: tuple[int, int]
    """Bytes that earlier parts hold in forward."""
    saved: tuple[int, int]
    """Bytes that earlier parts have saved for backward."""
    kept: tuple[int, int]
    """Bytes of later parts that their backward does not free."""
    waiting: tuple[int, int]
    """Bytes of gradients that wait, during its backward, for parts before it."""


def positions(parts: Sequence[Part], reach: int) -> list[Position]:
    """Returns the parts at which a peak can be: the ends of every run of equal parts and the parts near them.

    Along a run bytes change evenly, except where a part's bytes include those of a neighbour outside of the run. So the
    ends, and the parts within `reach` of them, hold the extremes.

    Args:
        parts: Stem, blocks, head and loss; equal parts are the same object.
        reach: How many parts away a neighbour can be whose bytes are counted with a part's: 1 with FSDP2, else 0.
    """
    held = saved = waiting = (0, 0)
    kept = sum(part.kept[0] for part in parts), sum(part.kept[1] for part in parts)
    found = []
    for i, part in enumerate(parts):
        kept = kept[0] - part.kept[0], kept[1] - part.kept[1]
        held = held[0] - part.drops[0], held[1] - part.drops[1]
        waiting = waiting[0] - part.leaves[0], waiting[1] - part.leaves[1]
        around = parts[max(0, i - reach - 1) : i + reach + 2]
        if len(around) < 2 * reach + 3 or any(other is not part for other in around):
            found.append(Position(i, part, held, saved, kept, waiting))
        held = held[0] + part.held[0], held[1] + part.held[1]
        saved = saved[0] + part.saved[0], saved[1] + part.saved[1]
        waiting = waiting[0] + part.takes[0], waiting[1] + part.takes[1]
    return found


def compose(places: Sequence[Position], layout: Layout) -> Lines:
    """Returns the lines of forward and backward by moment, without what persists: parameters, states, DDP's buckets.

    In a trace the gradients that a part finishes are its own; here gradients come from `layout`. During forward nothing
    that is held has been freed; the saved part of it counts as activations.

    Args:
        places: Positions among stem, blocks, head and loss, the last of them the loss.
        layout: What sharding and replication add.
    """
    moments: dict[Moment, list[Line]] = {m: [] for m in COMPOSED}
    last, shards = places[-1].place, layout.gathers
    for i, part, held, saved, kept, waiting in places:
        moment = Moment.END_OF_FORWARD if i >= last - 1 else Moment.FORWARD
        extra = layout.forward(i)
        moments[moment] += [line(s, held, saved, extra, own=0) for s in part.forward]
        around = Snapshot(0, part.input_bytes, 0, 0, 0)
        if part.returned is not None:
            moments[moment].append(line(part.returned, saved, saved, extra, own=0))
        if shards and i < last:  # the loss has nothing to gather
            moments[moment].append(line(around, held, saved, layout.gather(i), own=0))
        moment = Moment.BLOCK_BACKWARD if i else Moment.EMBEDDING_BACKWARD
        if i >= last - 1:
            moment = Moment.START_OF_BACKWARD
        extra = layout.backward(i)
        saved = saved[0] + kept[0], saved[1] + kept[1]
        before = saved[0] + waiting[0], saved[1] + waiting[1]
        for instants, around_it in _in_backward(part, layout, i):
            moments[moment] += [line(s, before, saved, around_it, own=layout.own(i, s.gradients)) for s in instants]
        if shards and not (layout.prefetches_late and part.before_prefetch):
            ahead = Snapshot(0, part.output_bytes, 0, 0, 0).above(part.saved)
            moments[moment].append(line(ahead, before, saved, layout.prefetch(i), own=0))
        if shards:
            if layout.reduces_within:
                around = around.above((0, part.frame_bytes))
            moments[moment].append(line(around, before, saved, layout.reduce(i), own=0))
    return {moment: largest_lines(lines) for moment, lines in moments.items()}


def _in_backward(part: Part, layout: Layout, i: int) -> Iterator[tuple[Sequence[Snapshot], Extra]]:
    """Yields the instants of a part's backward with the bytes around them."""
    if layout.prefetches_late and part.before_prefetch:
        yield part.before_prefetch, layout.before_prefetch(i)
        yield part.after_prefetch, layout.backward(i)
    else:
        yield part.backward, layout.backward(i)


def line(s: Snapshot, before: tuple[int, int], saved: tuple[int, int], extra: Extra, *, own: int) -> Line:
    """Returns the line of one instant of a part.

    Args:
        s: The instant in the part's trace.
        before: (fixed, per-sample) bytes of other parts that are alive.
        saved: (fixed, per-sample) bytes of these that are activations.
        extra: What sharding and replication add.
        own: Bytes that the part's own finished gradients add to the existing ones; 0 where each new gradient is added
            in place to one of these, and freed.
    """
    return Line(
        fixed=before[0] + s.fixed - s.gradients + own + sum(extra),
        per_sample=before[1] + s.per_sample,
        activations_fixed=saved[0] + s.saved_fixed,
        activations_per_sample=saved[1] + s.saved_per_sample,
        gradients=extra.gradients + own,
        unsharded=extra.unsharded,
        communication=extra.communication,
    )


def largest_lines(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Returns the lines that are the largest for some micro-batch of one sample or more."""
    best: list[Line] = []
    for line in sorted(lines, key=lambda x: (x.per_sample, x.fixed), reverse=True):
        if not best or line.fixed + line.per_sample > best[-1].fixed + best[-1].per_sample:
            best.append(line)
    return tuple(best)
