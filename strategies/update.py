"""The axis of when parameters are updated: all at once after backward, or each as soon as its gradient is there."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Update(Choice):
    """`in-backward`: an optimizer of its own for each parameter, which a hook steps and whose gradient it frees
    (`register_post_accumulate_grad_hook`; torch's tutorial "optimizer step in backward", torchtune's
    `optimizer_in_bwd`, Trainer's `*_layerwise`). Nothing can clip or accumulate gradients then."""

    AFTER_BACKWARD = "after-backward", "one step when all gradients are there"
    IN_BACKWARD = "in-backward", "each parameter when its gradient is there, which is then freed"

    @property
    def accumulates(self) -> bool:
        """Whether a step can have several micro-batches."""
        return self is Update.AFTER_BACKWARD


AXIS = axis_of(Update, phrase="update {}", hidden_default=Update.AFTER_BACKWARD)
