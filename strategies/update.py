"""Defines the axis of updates: after backward, or for each parameter as soon as its gradient exists."""

from __future__ import annotations

from strategies.axis import axis_of
from strategies.choice import Choice


class Update(Choice):
    """Says when the optimizer updates parameters.

    With `in-backward` each parameter has its own optimizer. A hook steps it and then frees the parameter's gradient
    (`register_post_accumulate_grad_hook`; torch's tutorial "optimizer step in backward", torchtune's
    `optimizer_in_bwd`, Trainer's `*_layerwise`). Gradients can then be neither clipped nor accumulated.
    """

    AFTER_BACKWARD = "after-backward", "one step when all gradients are there"
    IN_BACKWARD = "in-backward", "each parameter when its gradient is there, which is then freed"

    @property
    def accumulates(self) -> bool:
        """Returns whether an optimizer step can have several micro-batches."""
        return self is Update.AFTER_BACKWARD


AXIS = axis_of(Update, phrase="update {}", hidden_default=Update.AFTER_BACKWARD)
