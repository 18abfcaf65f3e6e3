"""Composes a training step from its traced parts: the largest instants of each moment, as lines in micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

from planner.memory.sharding import Extra, Layout
from planner.memory.tape import Snapshot
from planner.memory.trace import Part


class Moment(StrEnum):
    """The moments of a step that can be its peak."""

    FORWARD = "forward"
    END_OF_FORWARD = "end_of_forward"
    START_OF_BACKWARD = "start_of_backward"
    BLOCK_BACKWARD = "block_backward"
    EMBEDDING_BACKWARD = "embedding_backward"
    OPTIMIZER_STEP = "optimizer_step"


class Line(NamedTuple):
    """Bytes at one instant: `fixed + per_sample x micro_batch_size`, and which of them are what."""

    fixed: int
    per_sample: int
    activations_fixed: int
    activations_per_sample: int
    gradients: int
    unsharded: int
    communication: int

    def at(self, micro_batch_size: int) -> int:
        return self.fixed + self.per_sample * micro_batch_size


Lines = dict[Moment, tuple[Line, ...]]


def compose(parts: Sequence[Part], layout: Layout) -> Lines:
    """Lines of forward and backward, without what persists (parameters, states, DDP's buckets).

    `parts`: stem, blocks, head, loss. Gradients that a part finishes are its own in the trace; here they come from
    `layout`.
    """
    moments: dict[Moment, list[Line]] = {m: [] for m in Moment if m is not Moment.OPTIMIZER_STEP}
    last = len(parts) - 1
    for i, before in _ends_of_runs(parts, [p.held for p in parts]):
        moment = Moment.END_OF_FORWARD if i >= last - 1 else Moment.FORWARD
        # During forward nothing that is held has been freed: held bytes count as activations once they are saved.
        saved = _sum(p.saved for p in parts[:i])
        moments[moment] += [_line(s, before, saved, layout.forward(i), grads=False) for s in parts[i].forward]
    for i, before in _ends_of_runs(parts, [p.saved for p in parts]):
        moment = (
            Moment.START_OF_BACKWARD if i >= last - 1 else Moment.BLOCK_BACKWARD if i else Moment.EMBEDDING_BACKWARD
        )
        grows = layout.sharding.shards or not layout.gradients_exist
        extra = layout.backward(i)
        moments[moment] += [_line(s, before, before, extra, grads=grows) for s in parts[i].backward]
        if layout.sharding.shards:
            moments[moment].append(_line(Snapshot(0, 0, 0, 0, 0), before, before, layout.reduce(i), grads=False))
    return {moment: _largest(lines) for moment, lines in moments.items()}


def _ends_of_runs(parts: Sequence[Part], kept: Sequence[tuple[int, int]]) -> Iterator[tuple[int, tuple[int, int]]]:
    """Positions to look at, each with the bytes kept by all parts before it: bytes change evenly along a run of equal
    parts, so its first and last part hold the extremes."""
    fixed = per_sample = 0
    for i, part in enumerate(parts):
        inside = 0 < i < len(parts) - 1 and parts[i - 1] is part and parts[i + 1] is part
        if not inside:
            yield i, (fixed, per_sample)
        fixed += kept[i][0]
        per_sample += kept[i][1]


def _sum(pairs: Iterable[tuple[int, int]]) -> tuple[int, int]:
    fixed = per_sample = 0
    for f, p in pairs:
        fixed += f
        per_sample += p
    return fixed, per_sample


def _line(s: Snapshot, before: tuple[int, int], saved: tuple[int, int], extra: Extra, *, grads: bool) -> Line:
    """`grads`: the part's own finished gradients come on top of those that exist; otherwise they are among them, since
    each new gradient is added in place and freed."""
    own = s.gradients if grads else 0
    return Line(
        fixed=before[0] + s.fixed - s.gradients + own + sum(extra),
        per_sample=before[1] + s.per_sample,
        activations_fixed=saved[0] + s.saved_fixed,
        activations_per_sample=saved[1] + s.saved_per_sample,
        gradients=extra.gradients + own,
        unsharded=extra.unsharded,
        communication=extra.communication,
    )


def _largest(lines: Iterable[Line]) -> tuple[Line, ...]:
    """Those lines that are the largest for some micro-batch of one sample or more."""
    best: list[Line] = []
    for line in sorted(set(lines), key=lambda x: (x.per_sample, x.fixed), reverse=True):
        if all(line.at(1) > b.at(1) for b in best):
            best.append(line)
    return tuple(best)
