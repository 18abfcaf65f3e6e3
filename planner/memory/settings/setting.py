"""What the bytes of a part depend on, besides the model."""

from __future__ import annotations

from planner.libraries.sdpa import Selection
from planner.memory.settings.dtypes import Dtypes
from strategies import AnyOptimizer, Attention, Kernels, Loss, Method


class Setting:
    """All that the bytes of a part depend on, besides the model. Compared by identity: `TracedModel` makes each
    once."""

    __slots__ = (
        "attention",
        "dtypes",
        "evaluates",
        "kernels",
        "loss",
        "method",
        "selection",
        "sequence_length",
        "updates",
    )

    def __init__(
        self,
        dtypes: Dtypes,
        method: Method,
        attention: Attention,
        loss: Loss,
        kernels: Kernels,
        sequence_length: int,
        selection: Selection,
        updates: AnyOptimizer | None = None,
        evaluates: bool = False,
    ) -> None:
        """`updates`: the optimizer that steps each parameter in backward. `evaluates`: forward passes keep nothing for
        backward."""
        self.dtypes, self.method, self.attention = dtypes, method, attention
        self.loss, self.kernels = loss, kernels
        self.sequence_length, self.selection = sequence_length, selection
        self.updates, self.evaluates = updates, evaluates
