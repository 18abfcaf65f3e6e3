"""The axis of activation checkpointing: what is dropped in forward and computed again in backward."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Checkpointing(Choice):
    """`full`: every block, non-reentrant; only a block's input is kept (`gradient_checkpointing=True` in Trainer)."""

    NONE = "none", "every activation is kept"
    FULL = "full", "every block is recomputed in backward"


AXIS = axis_of(Checkpointing, phrase="checkpointing {}")
