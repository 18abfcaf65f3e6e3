"""Defines how long a training loop keeps what the model's forward pass returned."""

from __future__ import annotations

from typing import NamedTuple

from strategies.choice import Choice


class OutputsFacts(NamedTuple):
    """Says when the outputs, and with them the logits and the graph of the step, are alive besides in forward.

    Attributes:
        in_step: Whether they live through backward and the optimizer step, and through later micro-batches' forward.
        in_next_forward: Whether they live on between steps, until the next forward has returned.
    """

    in_step: bool = False
    in_next_forward: bool = False


class Outputs(Choice):
    """Says how long the training loop keeps the model's outputs.

    transformers' Trainer returns from `compute_loss` with the loss alone (transformers/trainer.py). A loop written by
    hand usually says `outputs = model(**batch)`, and a variable of Python lives until its next assignment.
    """

    facts: OutputsFacts

    RELEASED = "released", "gone once the loss is there, as in transformers' Trainer", OutputsFacts()
    KEPT = (
        "kept",
        "alive until the next forward has returned, as `outputs = model(...)` in a loop",
        OutputsFacts(in_step=True, in_next_forward=True),
    )
    KEPT_IN_STEP = (
        "kept-in-step",
        "alive until the optimizer has stepped, as the same in a function for each step",
        OutputsFacts(in_step=True),
    )
