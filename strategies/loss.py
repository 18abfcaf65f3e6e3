"""The axis of loss implementations."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Loss(Choice):
    FULL = "full", "logits of all tokens at once, cross-entropy in fp32"


AXIS = axis_of(Loss, phrase="{} loss")
