"""The axis of training frameworks: who wraps the model."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Framework(Choice):
    TRANSFORMERS = "transformers", "Hugging Face Trainer with accelerate and PEFT"


AXIS = axis_of(Framework)
