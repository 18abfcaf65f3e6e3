"""Adds what a training loop keeps of a forward pass: the model's outputs, and the graph that hangs on them.

The graph's nodes keep what backward does not free, such as the arguments of a reentrant checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from planner.memory.settings.parts import Part
from planner.memory.sharding.layout import Turn
from planner.memory.step.step import Line, Lines, Moment
from strategies import Outputs

NOTHING = (0, 0)
IN_FORWARD = (Moment.FORWARD, Moment.END_OF_FORWARD)


class KeptOutputs(NamedTuple):
    """Holds the (fixed, per-sample) bytes that outlive a micro-batch's forward and backward, and says until when."""

    outputs: Outputs
    returned: tuple[int, int] = NOTHING
    """What the model has returned and backward does not need."""
    graph: tuple[int, int] = NOTHING
    """What backward needs and does not free, and leaves that are no parameters, with their gradients."""

    @classmethod
    def of(cls, outputs: Outputs, parts: Sequence[Part]) -> KeptOutputs:
        """Returns what a loop keeps of a step.

        Args:
            outputs: How long it keeps the model's outputs.
            parts: Stem, blocks, head and loss.
        """
        if not outputs.facts.in_step:
            return cls(outputs)
        kept = [part.kept for part in parts] + 2 * [part.leaf for part in parts]
        return cls(outputs, parts[-1].outputs, (sum(fixed for fixed, _ in kept), sum(varying for _, varying in kept)))

    def around(self, turn: Turn, lines: Lines) -> Lines:
        """Returns the lines of a micro-batch's forward and backward with what is kept around them.

        In forward these are the outputs of the micro-batch before it.

        Args:
            turn: The micro-batch's turn in its step.
            lines: Lines of forward and backward by moment; in backward they have the graph already.
        """
        facts = self.outputs.facts
        before = facts.in_next_forward or (facts.in_step and turn.finds_gradients)
        kept: Mapping[bool, tuple[int, int]] = {True: self.after_step if before else NOTHING, False: self.returned}
        return {moment: tuple(raised(found, kept[moment in IN_FORWARD])) for moment, found in lines.items()}

    @property
    def after_step(self) -> tuple[int, int]:
        """Returns the bytes that are alive when backward is over."""
        return self.returned[0] + self.graph[0], self.returned[1] + self.graph[1]

    @property
    def between_steps(self) -> tuple[int, int]:
        """Returns the bytes that are alive when the step is over."""
        return self.after_step if self.outputs.facts.in_next_forward else NOTHING


def raised(lines: Iterable[Line], kept: tuple[int, int], saved: tuple[int, int] = NOTHING) -> Iterable[Line]:
    """Yields lines with (fixed, per-sample) bytes added to their totals; `saved` of them are activations."""
    if kept == saved == NOTHING:
        yield from lines
        return
    for x in lines:
        yield x._replace(
            fixed=x.fixed + kept[0],
            per_sample=x.per_sample + kept[1],
            activations_fixed=x.activations_fixed + saved[0],
            activations_per_sample=x.activations_per_sample + saved[1],
        )
