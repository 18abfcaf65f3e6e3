"""Derives the live bytes of a step at any micro-batch size from two replays at different sizes.

Every allocation is `fixed + per_sample x micro_batch_size` bytes, and so is every sum of allocations. Of all instants
of a step only those are kept that are the largest at some micro-batch size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hardware import PlannerError
from planner.memory.settings.snapshots import largest
from planner.replay.recording.serve import categories_of
from planner.replay.recording.trace import Phase, Section, Trace, Work

SMALL, LARGE = 8, 16
"""Micro-batch sizes that are replayed.

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

    @property
    def fixed(self) -> int:
        """Bytes of all categories that do not depend on the micro-batch size."""
        return sum(fixed for fixed, _ in self.bytes_by_category)

    @property
    def per_sample(self) -> int:
        """Bytes of all categories that each sample of the micro-batch adds."""
        return sum(per_sample for _, per_sample in self.bytes_by_category)


class Affine(NamedTuple):
    """Describes a steady step at any micro-batch size."""

    parameters: int
    """Bytes of the parameters and buffers."""
    resting_per_sample: int
    """Bytes per sample of the inputs, which are alive throughout the step."""
    first: dict[Phase, list[Instant]]
    """Largest instants of forward and backward in the first micro-batch of a step."""
    later: dict[Phase, list[Instant]]
    """Largest instants of forward and backward in the later micro-batches, when gradients exist from the start."""
    work: tuple[Work, Work]
    """(fixed, per-sample) work of forward and backward of one micro-batch."""


def affine(small: Trace, large: Trace) -> Affine:
    """Derives a step at any micro-batch size from two replays without optimizer states.

    Args:
        small: Replay with `SMALL` samples per micro-batch and `MICRO_BATCHES` micro-batches per step.
        large: Replay with `LARGE` samples per micro-batch, otherwise equal.

    Raises:
        NotAffineError: The replays do not allocate and free in the same order.
    """
    _check_alike(small, large)
    instants = [_solved(a, b) for a, b in zip(_sections(small), _sections(large), strict=True)]
    *passes, step = (i for i, section in enumerate(small.sections) if section.step == small.last_step)
    first, later = ({small.sections[i].phase: _largest(instants[i]) for i in pair} for pair in (passes[:2], passes[2:]))
    rest = instants[step][-1]
    return Affine(
        parameters=_parameters(small),
        resting_per_sample=rest.per_sample,
        first=first,
        later=later,
        work=_work(small, large, passes[:2]),
    )


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


def _sections(trace: Trace) -> Iterator[tuple[Section, list[tuple[int, ...]]]]:
    """Yields every section with the live bytes by category at its start and after each event that changes them."""
    categories = categories_of(trace)
    live = dict.fromkeys(CATEGORIES, 0)
    for section in trace.sections:
        found = [tuple(live.values())]
        for storage, size, _ in section.events:
            if (category := categories[storage]) in live:
                live[category] += size
                found.append(tuple(live.values()))
        yield section, found


def _solved(
    small: tuple[Section, list[tuple[int, ...]]], large: tuple[Section, list[tuple[int, ...]]]
) -> list[Instant]:
    """Solves for the (fixed, per-sample) bytes at each instant of a section."""
    if len(small[1]) != len(large[1]):
        raise NotAffineError(f"tensors of {small[0].phase} live longer with {LARGE} samples than with {SMALL}")
    found = []
    for a, b in zip(small[1], large[1], strict=True):
        slopes = [(y - x) // (LARGE - SMALL) for x, y in zip(a, b, strict=True)]
        found.append(Instant(tuple((x - SMALL * slope, slope) for x, slope in zip(a, slopes, strict=True))))
    return found


def _largest(instants: Sequence[Instant]) -> list[Instant]:
    """Returns the instants that are the largest at some micro-batch size of one sample or more."""
    return [instants[number] for _, _, number in largest([(x.fixed, x.per_sample, i) for i, x in enumerate(instants)])]


def _parameters(trace: Trace) -> int:
    """Returns the bytes of parameters and buffers that are loaded and stay."""
    live = 0
    for section in trace.sections:
        live += sum(e.size for e in section.events if trace.labels[e.storage].category == "parameters")
    return live


def _work(small: Trace, large: Trace, sections: Sequence[int]) -> tuple[Work, Work]:
    """Returns the (fixed, per-sample) work of these sections together."""
    totals = []
    for trace in (small, large):
        total = Work()
        for (section, _), work in trace.work.items():
            if section in sections:
                total = total.plus(work)
        totals.append(total)
    per_sample = Work(*(n // (LARGE - SMALL) for n in totals[1].plus(totals[0], times=-1)))
    return totals[0].plus(per_sample, times=-SMALL), per_sample
