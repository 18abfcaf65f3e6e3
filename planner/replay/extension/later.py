"""Derives a later micro-batch of a step from the first one, of which it is a repetition but for gradients.

In the first micro-batch autograd keeps the tensor in which it computed a parameter's gradient, or a copy of it where
something else refers to that tensor. In a later one it adds this tensor to the gradient in place and frees it, and
makes no copy (torch/csrc/autograd/functions/accumulate_grad.h, `accumulateGrad`). The recorder marks when that happens
(`recording/gradients.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hardware import PlannerError
from planner.replay.recording.trace import Phase, Trace

Ints = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
"""An array of whole numbers."""

PHASES = 2
"""Phases of a micro-batch: forward and backward."""

OTHER = -1
"""Column of a storage of a category whose bytes do not change within a step."""

ACTIVATIONS, TEMPORARY, GRADIENTS = range(3)
"""Columns of categories, in the order of `affine.CATEGORIES`."""


class UnlikeError(PlannerError):
    """Reports a first micro-batch that leaves other tensors than gradients, so that a second one is not like it."""


class Changes(NamedTuple):
    """Holds the events of a section."""

    storages: Ints
    """Storage of each event."""
    columns: Ints
    """Column of its category; `OTHER` for those that do not change."""
    sizes: Ints
    """Signed bytes at both sizes of the micro-batch, `[2, events]`."""

    def deltas(self, columns: int) -> Ints:
        """Returns the changes of each category, `[2, changes, columns]`."""
        changing = self.columns != OTHER
        found = np.zeros((2, int(changing.sum()), columns), dtype=np.int64)
        found[:, np.arange(found.shape[1]), self.columns[changing]] = self.sizes[:, changing]
        return found

    def net(self, columns: int) -> Ints:
        """Returns the change of each category from the section's start to its end, `[2, columns]`."""
        net: Ints = self.deltas(columns).sum(axis=1)
        return net

    def live(self, start: Ints) -> Ints:
        """Returns the live bytes at the start and after each change, `[2, instants, columns]`.

        Args:
            start: Live bytes at the start, `[2, columns]`.
        """
        after = np.cumsum(self.deltas(start.shape[1]), axis=1)
        found: Ints = start[:, None] + np.concatenate([np.zeros_like(after[:, :1]), after], axis=1)
        return found


def passes_of(trace: Trace, before: int = 0) -> list[int]:
    """Returns the indices of the sections of forward and backward in the last step, or in one `before` it."""
    return sections_of(trace, Phase.FORWARD, Phase.BACKWARD, before=before)


def sections_of(trace: Trace, *phases: Phase, before: int = 0) -> list[int]:
    """Returns the indices of the sections of some phases in the last step, or in one `before` it."""
    step = trace.last_step - before
    return [i for i, section in enumerate(trace.sections) if section.step == step and section.phase in phases]


def again(trace: Trace, passes: Sequence[Changes]) -> list[Changes]:
    """Returns forward and backward of a later micro-batch.

    Args:
        trace: The replay of a step of one micro-batch, with marks of the gradients that autograd kept.
        passes: Its forward and backward.

    Raises:
        UnlikeError: The micro-batch leaves something that is no gradient, or frees what was there before.
    """
    _check(trace, passes)
    forward, backward = passes
    kept = forward.columns == GRADIENTS, backward.columns == GRADIENTS
    marks = np.flatnonzero(kept[1] & (backward.sizes[0] == 0))
    last = {int(backward.storages[i]): i for i in marks.tolist()}
    sizes = backward.sizes.copy()
    columns = backward.columns.copy()
    made_here = {}
    for i in np.flatnonzero(kept[1] & (backward.sizes[0] > 0)).tolist():
        columns[i] = TEMPORARY if int(backward.storages[i]) in last else OTHER  # autograd's copy is not made again
        made_here[int(backward.storages[i])] = backward.sizes[:, i]
    columns[marks] = OTHER
    made_before = {int(forward.storages[i]): forward.sizes[:, i] for i in np.flatnonzero(kept[0]).tolist()}
    for storage, i in last.items():
        columns[i] = TEMPORARY if storage in made_here else ACTIVATIONS
        sizes[:, i] = -(made_here[storage] if storage in made_here else made_before[storage])
    in_forward = np.where(kept[0], ACTIVATIONS, forward.columns)
    return [forward._replace(columns=in_forward), Changes(backward.storages, columns, sizes)]


def _check(trace: Trace, passes: Sequence[Changes]) -> None:
    """Checks that all tensors live and die within the micro-batch, but for gradients."""
    net = np.zeros(max(trace.labels, default=0) + 1, dtype=np.int64)
    for section in passes:
        changing = (section.columns != OTHER) & (section.columns != GRADIENTS)
        np.add.at(net, section.storages[changing], section.sizes[0][changing])
    if len(left := np.flatnonzero(net)):
        name = trace.labels[int(left[0])].name
        raise UnlikeError(f"{name} does not live and die within a micro-batch", "two of them have to be replayed")
