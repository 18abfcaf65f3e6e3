"""Derives the live bytes of a step at any micro-batch size from replays.

Every allocation is `fixed + per_sample x micro_batch_size` bytes, and so is every sum of allocations. Its bytes at two
sizes tell both numbers: those of two replays, or what one replay is rewritten to (see `resized`). Of all instants of a
step only those are kept that are the largest at some micro-batch size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hardware import PlannerError
from planner.replay.extension.later import OTHER, PHASES, Changes, Ints, again, passes_of, sections_of
from planner.replay.extension.resized import resized, work_of
from planner.replay.recording.serve import categories_of
from planner.replay.recording.trace import Phase, Trace, Work

SMALL, LARGE = 8, 16
"""Micro-batch sizes of which bytes are compared.

With one sample some copies are views, because torch calls their tensors contiguous. With few samples, sizes rounded to
512 bytes are not affine; 512 is a multiple of the difference between the two sizes.
"""

CATEGORIES = ("activations", "temporary", "gradients", "unsharded_parameters", "communication")
"""Memory categories whose bytes change within a step; parameters and optimizer states do not."""


class NotAffineError(PlannerError):
    """Reports a step that allocates in a different order at a different micro-batch size."""


class Instant(NamedTuple):
    """Holds the live bytes at one instant of a step, without parameters and optimizer states."""

    bytes_by_category: tuple[tuple[int, int], ...]
    """(fixed, per-sample) bytes of each category, in the order of `CATEGORIES`."""


class Affine(NamedTuple):
    """Describes a steady step at any micro-batch size."""

    parameters: int
    """Bytes of the parameters and buffers."""
    resting_per_sample: int
    """Bytes per sample of the inputs, which are alive throughout the step."""
    only: dict[Phase, list[Instant]]
    """Largest instants of forward and backward in the only micro-batch of a step."""
    first: dict[Phase, list[Instant]]
    """The same in the first of several, to whose gradients others add."""
    later: dict[Phase, list[Instant]]
    """The same in one between the first and the last, when gradients exist from the start."""
    last: dict[Phase, list[Instant]]
    """The same in the last one."""
    evaluation: list[Instant]
    """Largest instants of an evaluation, per evaluated sample, without the training batch; none if nothing is
    evaluated.
    """
    work: tuple[Work, Work]
    """(fixed, per-sample) work of forward and backward of one micro-batch."""


def of_two(small: Trace, large: Trace) -> Affine:
    """Derives a step at any micro-batch size from two replays without optimizer states.

    Args:
        small: Replay with `SMALL` samples per micro-batch.
        large: Replay with `LARGE` samples per micro-batch, otherwise equal.

    Raises:
        NotAffineError: The replays do not allocate and free in the same order.
        UnlikeError: They have one micro-batch a step, and a second one would be another.
    """
    _check_alike(small, large)
    sizes = [np.stack(pair) for pair in zip(_sizes(small), _sizes(large), strict=True)]
    return _affine(small, sizes, [_work(small), _work(large)])


def of_one(trace: Trace, samples: int) -> Affine:
    """Derives a step at any micro-batch size from one replay without optimizer states, with exact sizes.

    Args:
        trace: Replay with a prime number of samples per micro-batch that `is_distinct`.
        samples: This number.

    Raises:
        UnlikeError: It has one micro-batch a step, and a second one would be another.
    """
    sizes = [np.stack([resized(section, samples, n) for n in (SMALL, LARGE)]) for section in _sizes(trace)]
    work = _work(trace)
    return _affine(trace, sizes, [work_of(work, samples, n) for n in (SMALL, LARGE)])


def _sizes(trace: Trace) -> list[Ints]:
    """Returns the bytes of each event by section."""
    return [np.array([event.size for event in section.events], dtype=np.int64) for section in trace.sections]


def _check_alike(small: Trace, large: Trace) -> None:
    """Raises NotAffineError unless both traces have the same sequence of allocations and frees in every section."""
    for a, b in zip(small.sections, large.sections, strict=True):
        if len(a.events) != len(b.events) or any(
            (x.size > 0) != (y.size > 0) for x, y in zip(a.events, b.events, strict=True)
        ):
            raise NotAffineError(
                f"{a.phase} allocates {len(a.events)} times with {SMALL} samples, {len(b.events)} times with {LARGE}",
                "a model whose operations depend on the values of its inputs has no profile",
            )


def _affine(trace: Trace, sizes: Sequence[Ints], work: Sequence[Work]) -> Affine:
    """Derives a step from the bytes of its events at `SMALL` and `LARGE` samples.

    Args:
        trace: A replay.
        sizes: Bytes of the events of each section at both sizes, `[2, events]`.
        work: Work of a micro-batch at both sizes.
    """
    passes = passes_of(trace)
    starts, live = [], np.zeros((2, len(CATEGORIES)), dtype=np.int64)
    sections = _changes(trace, sizes)
    for section in sections:
        starts.append(live)
        live = live + section.net(len(CATEGORIES))
    steps = [(trace.sections[i].phase, starts[i], sections[i]) for i in passes]
    if len(passes) == PHASES:  # the later micro-batches were not run
        start = starts[passes[-1] + 1]
        for i, section in zip(passes, again(trace, [sections[i] for i in passes]), strict=True):
            steps.append((trace.sections[i].phase, start, section))
            start = start + section.net(len(CATEGORIES))
    largest = [(phase, _largest(section.live(start))) for phase, start, section in steps]
    first, later, last = (dict(largest[i:][:PHASES]) for i in (0, PHASES, -PHASES))
    alone = passes_of(trace, before=1) if len(passes) > 2 * PHASES else []
    only = {trace.sections[i].phase: _largest(sections[i].live(starts[i])) for i in alone} or first
    per_sample = Work(*(n // (LARGE - SMALL) for n in work[1].plus(work[0], times=-1)))
    return Affine(
        parameters=_parameters(trace, sizes),
        resting_per_sample=int(_slopes(live).sum()),
        only=only,
        first=first,
        later=later,
        last=last,
        evaluation=[
            instant
            for i in sections_of(trace, Phase.EVALUATION)
            for instant in _largest(sections[i].live(_without_slope(starts[i])))
        ],
        work=(work[0].plus(per_sample, times=-SMALL), per_sample),
    )


def _changes(trace: Trace, sizes: Sequence[Ints]) -> list[Changes]:
    """Returns how each section changes the bytes of each category."""
    columns = np.full(max(trace.labels, default=0) + 1, OTHER)
    for storage, category in categories_of(trace).items():
        if category in CATEGORIES:
            columns[storage] = CATEGORIES.index(category)
    found = []
    for section, of_both in zip(trace.sections, sizes, strict=True):
        storages = np.array([event.storage for event in section.events], dtype=np.int64)
        found.append(Changes(storages, columns[storages], of_both))
    return found


def _slopes(live: Ints) -> Ints:
    """Returns the bytes per sample, given the bytes at both sizes, `[2, ...]`."""
    slopes: Ints = (live[1] - live[0]) // (LARGE - SMALL)
    return slopes


def _without_slope(live: Ints) -> Ints:
    """Returns the bytes that do not depend on the samples of a micro-batch, at both sizes, `[2, categories]`."""
    fixed = live[0] - SMALL * _slopes(live)
    return np.stack([fixed, fixed])


def _largest(live: Ints) -> list[Instant]:
    """Returns the instants that are the largest at some micro-batch size of one sample or more.

    Args:
        live: Live bytes at both sizes, `[2, instants, categories]`.
    """
    slopes = _slopes(live)
    fixed = live[0] - SMALL * slopes
    total_fixed, total_slope = fixed.sum(axis=1), slopes.sum(axis=1)
    # In order of falling slope: a flatter line can be the largest somewhere only if it is larger at one sample.
    order = np.lexsort((np.arange(len(slopes)), -total_fixed, -total_slope))
    at_one = (total_fixed + total_slope)[order]
    is_larger = np.append(True, at_one[1:] > np.maximum.accumulate(at_one)[:-1])
    return [
        Instant(tuple((int(a), int(b)) for a, b in zip(fixed[i], slopes[i], strict=True))) for i in order[is_larger]
    ]


def _parameters(trace: Trace, sizes: Sequence[Ints]) -> int:
    """Returns the bytes of parameters and buffers that are loaded and stay."""
    live = 0
    for section, (small, _) in zip(trace.sections, sizes, strict=True):
        for event, size in zip(section.events, small.tolist(), strict=True):
            live += size * (trace.labels[event.storage].category == "parameters")
    return live


def _work(trace: Trace) -> Work:
    """Returns the work of the first micro-batch of the last step."""
    first = passes_of(trace)[:PHASES]
    total = Work()
    for (section, _), work in trace.work.items():
        if section in first:
            total = total.plus(work)
    return total
