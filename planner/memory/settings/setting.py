"""Everything except the model that the bytes of a part depend on."""

from __future__ import annotations

from planner.libraries.sdpa import Selection
from planner.memory.settings.dtypes import Dtypes
from strategies import AnyOptimizer, Attention, Kernels, Loss, Method


class Setting:
    """Holds everything except the model that the bytes of a part depend on.

    Settings are compared by identity, since `TracedModel` makes each only once.
    """

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
        """Describes how a model is trained.

        Args:
            dtypes: Bytes per element of each kind of parameter.
            method: The fine-tuning method.
            attention: The attention implementation.
            loss: The loss implementation.
            kernels: The implementation of norms, rotary embeddings and MLP.
            sequence_length: Tokens per sample.
            selection: How SDPA chooses its kernel.
            updates: The optimizer that updates each parameter in backward; None if updates wait for its end.
            evaluates: Whether forward passes save nothing for backward.
        """
        self.dtypes, self.method, self.attention = dtypes, method, attention
        self.loss, self.kernels = loss, kernels
        self.sequence_length, self.selection = sequence_length, selection
        self.updates, self.evaluates = updates, evaluates
