"""The axis of loss implementations."""

from __future__ import annotations

from strategies.axis import Choice


class Loss(Choice):
    FULL = "full", "logits of all tokens at once, cross-entropy in fp32"
