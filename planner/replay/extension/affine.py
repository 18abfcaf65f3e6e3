"""Two replays of one step at different micro-batches, and from them the bytes at every instant for any micro-batch.

Every allocation is `fixed + per_sample x micro_batch_size`, and so is every sum of them. Only the instants that are the
largest for some micro-batch are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hardware import PlannerError
from planner.memory.settings.parts import largest
from planner.replay.recording.serve import categories_of
from planner.replay.recording.trace import Phase, Section, Trace, Work

SMALL, LARGE = 8, 16
"""Micro-batches that are replayed. With one sample some copies are views (torch calls its tensors contiguous), and with
few, sizes that are rounded to 512 bytes are not affine; 512 is a multiple of the difference."""

CATEGORIES = ("activations", "temporary", "gradients", "unsharded_parameters", "communication")
"""What changes within a step; parameters and states stay."""


class NotAffineError(PlannerError):
    """A step that allocates in another order at another micro-batch."""


class Instant(NamedTuple):
    """Live bytes by category, each as (fixed, per sample), without what stays between steps."""

    bytes_by_category: tuple[tuple[int, int], ...]

    @property
    def fixed(self) -> int:
        return sum(fixed for fixed, _ in self.bytes_by_category)

    @property
    def per_sample(self) -> int:
        return sum(per_sample for _, per_sample in self.bytes_by_category)


class Affine(NamedTuple):
    """A steady step at any micro-batch."""

    parameters: int
    resting_per_sample: int
    """Of the inputs, which live throughout."""
    first: dict[Phase, list[Instant]]
    """Largest instants while the first micro-batch of a step runs."""
    later: dict[Phase, list[Instant]]
    """The same for the other micro-batches of an accumulated step."""
    work: tuple[Work, Work]
    """Of one micro-batch, forward and backward: fixed and per sample."""


def affine(small: Trace, large: Trace) -> Affine:
    """From replays of `SMALL` and `LARGE` samples with `MICRO_BATCHES` of them per step, without optimizer states.

    Raises:
        NotAffineError: the two do not do the same.
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
    for a, b in zip(small.sections, large.sections, strict=True):
        if len(a.events) != len(b.events) or any(
            (x.size > 0) != (y.size > 0) for x, y in zip(a.events, b.events, strict=True)
        ):
            raise NotAffineError(
                f"{a.phase} allocates {len(a.events)} times with {SMALL} samples, {len(b.events)} times with {LARGE}",
                "a model whose operations depend on the values of its inputs has no profile",
            )


def _sections(trace: Trace) -> Iterator[tuple[Section, list[tuple[int, ...]]]]:
    """Every section with the live bytes by category after each of its events."""
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
    if len(small[1]) != len(large[1]):
        raise NotAffineError(f"tensors of {small[0].phase} live longer with {LARGE} samples than with {SMALL}")
    found = []
    for a, b in zip(small[1], large[1], strict=True):
        slopes = [(y - x) // (LARGE - SMALL) for x, y in zip(a, b, strict=True)]
        found.append(Instant(tuple((x - SMALL * slope, slope) for x, slope in zip(a, slopes, strict=True))))
    return found


def _largest(instants: Sequence[Instant]) -> list[Instant]:
    """Those that are the largest for some micro-batch of one sample or more."""
    return [instants[number] for _, _, number in largest([(x.fixed, x.per_sample, i) for i, x in enumerate(instants)])]


def _parameters(trace: Trace) -> int:
    """What is loaded and stays."""
    live = 0
    for section in trace.sections:
        live += sum(e.size for e in section.events if trace.labels[e.storage].category == "parameters")
    return live


def _work(small: Trace, large: Trace, sections: Sequence[int]) -> tuple[Work, Work]:
    totals = []
    for trace in (small, large):
        total = Work()
        for (section, _), work in trace.work.items():
            if section in sections:
                total = total.plus(work)
        totals.append(total)
    per_sample = totals[1].plus(totals[0], times=-1)
    return totals[0].plus(per_sample, times=-SMALL), per_sample
