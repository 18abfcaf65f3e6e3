"""Writes the instants of a profile as lines in the micro-batch size."""

from __future__ import annotations

from typing import Final

from planner.memory.step.step import Line, Lines, Moment, largest_lines
from planner.profiles.records import Instant, Profile

MOMENTS: Final = {"forward": Moment.FORWARD, "backward": Moment.BACKWARD}
"""The moment of a step for each phase of a profile."""


def of_passes(found: Profile, micro_batches: int) -> Lines:
    """Returns the largest instants of forward and backward, in a step of so many micro-batches."""
    phases = found.of_turns(micro_batches)
    return {MOMENTS[phase]: largest_lines(map(_line, instants)) for phase, instants in phases.items()}


def of_evaluation(found: Profile, batch_size: int) -> tuple[Line, ...]:
    """Returns the instants of an evaluation of so many samples, while the inputs of training stay."""
    return tuple(_evaluated(instant, batch_size, found.inputs_bytes) for instant in found.evaluation)


def _evaluated(instant: Instant, batch_size: int, inputs_bytes: int) -> Line:
    line = _line(instant)
    evaluated = line.fixed + line.per_sample * batch_size
    return Line(evaluated, inputs_bytes, 0, 0, 0, line.unsharded, line.communication)


def _line(instant: Instant) -> Line:
    """Adds up the categories of an instant."""
    parts = (
        instant.activations,
        instant.temporary,
        instant.gradients,
        instant.unsharded_parameters,
        instant.communication,
    )
    return Line(
        sum(fixed for fixed, _ in parts),
        sum(per_sample for _, per_sample in parts),
        *instant.activations,
        instant.gradients[0],
        instant.unsharded_parameters[0],
        instant.communication[0],
    )
