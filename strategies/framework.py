"""Defines the axis of training frameworks, which wrap the model."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Framework(Choice):
    """Names the training framework that wraps the model."""

    TRANSFORMERS = "transformers", "Hugging Face Trainer with accelerate and PEFT"


AXIS = axis_of(Framework)
