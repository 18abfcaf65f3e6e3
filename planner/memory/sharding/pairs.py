"""Computes the gradients around each part where a model runs once for each text of a pair, and both share a backward.

Each parameter has one node that accumulates its gradient. It waits for the gradients of both passes, which autograd
adds, so the gradient of the pass that comes first in backward is neither in a bucket of DDP nor in `.grad` before the
other one comes (torch/csrc/autograd/engine.cpp, `Engine::evaluate_function`; input_buffer.cpp, `InputBuffer::add`).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.sharding.account import Unit
from planner.memory.sharding.layout import Extra, Layout, Turn
from planner.memory.sharding.replicated import bucketed
from strategies import DataParallel, GradientBuckets, Replicated


class PairedLayout(Layout):
    """Computes the bytes around each part of one of the two passes, where every rank keeps the whole model.

    Args:
        units: The parameters of each part.
        waits: Whether the gradients of each part wait for those of the other pass. Within a reentrant checkpoint they
            do not: its backward is one of its own, which adds them to those that exist.
        sharding: How the model is replicated.
        world_size: The number of ranks.
        turn: Which micro-batch of the step runs.
        ends: Whether it is the pass that comes last in backward, which finds the other's gradients.
    """

    gathers = False

    def __init__(
        self,
        units: Sequence[Unit],
        waits: Sequence[bool],
        sharding: Replicated,
        world_size: int,
        turn: Turn,
        *,
        ends: bool,
    ) -> None:
        sizes = [unit.gradient_bytes for unit in units]
        finds, self.ends = turn.finds_gradients, ends
        self._total = sum(sizes)
        self._existing = self._total if finds else 0
        self._new = [size if waits_too or not finds else 0 for size, waits_too in zip(sizes, waits, strict=True)]
        """Bytes of each part's gradients that the pass that comes first in backward adds to those that exist."""
        self._in_buckets = bucketed(sharding, world_size) is GradientBuckets.VIEWS

    @property
    def grows(self) -> bool:
        """Whether gradients are beside those that exist; else each is added in place to one, and freed."""
        return not self.ends

    def own(self, i: int, num_bytes: int) -> int:
        """Returns the bytes that gradients of part `i` take of those that its backward has made so far."""
        return num_bytes if self.grows and self._new[i] else 0

    @property
    def at_step(self) -> int:
        """Bytes of gradients at the optimizer step."""
        return 0 if self._in_buckets else self._total

    def forward(self, i: int) -> Extra:
        """Returns the bytes around the forward of part `i`: the gradients of earlier micro-batches."""
        return Extra(gradients=self._existing)

    def backward(self, i: int) -> Extra:
        """Returns the bytes around the backward of part `i`."""
        if not self.ends:
            return Extra(gradients=self._existing + sum(self._new[i + 1 :]))
        complete = 0 if self._existing or self._in_buckets else sum(self._new[i + 1 :])
        return Extra(gradients=self._existing + sum(self._new[: i + 1]) + complete)


def both_passes(
    units: Sequence[Unit], sharding: DataParallel, world_size: int, turn: Turn, *, reentrant: bool
) -> list[PairedLayout]:
    """Returns what is around the pass over the second texts of all pairs, and around that over the first.

    Args:
        units: The parameters of stem, blocks, head and loss.
        sharding: How the model is replicated.
        world_size: The number of ranks.
        turn: Which micro-batch of the step runs.
        reentrant: Whether the blocks run within reentrant checkpoints.
    """
    assert isinstance(sharding, Replicated)
    waits = [not reentrant or i in (0, len(units) - 2, len(units) - 1) for i in range(len(units))]
    return [PairedLayout(units, waits, sharding, world_size, turn, ends=ends) for ends in (False, True)]
