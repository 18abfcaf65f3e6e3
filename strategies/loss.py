"""Defines the axis of loss implementations."""

from __future__ import annotations

from strategies.axis import axis_of
from strategies.choice import Choice


class Loss(Choice):
    """Says how the loss is computed from the last hidden states.

    Fused losses multiply by the head's weight themselves, and make one chunk of logits at a time.
    """

    FULL = "full", "logits of all tokens at once, cross-entropy in fp32"
    TRANSFORMERS_4_48 = "transformers-4.48", "full, of a copy of the logits without the last ones (4.46 to 4.48)"
    TRANSFORMERS_4_45 = "transformers-4.45", "the same, of logits that the model itself casts to fp32 (up to 4.45)"
    LIGER_CROSS_ENTROPY = "liger-cross-entropy", "logits of all tokens, their gradient in place (liger-kernel)"
    FLASH_CROSS_ENTROPY = "flash-cross-entropy", "logits of all tokens and their gradient in their dtype (flash-attn)"
    COMPILED = "compiled", "logits of all tokens and their gradient in their dtype (torch.compile of the loss)"
    LIGER_FUSED_LINEAR = "liger-fused-linear", "chunks of tokens, all gradients made in forward (liger-kernel)"
    CHUNKED = "chunked", "tiles of 4096 tokens x 32768 words, computed again in backward (TRL's SFTTrainer)"
    CUT_CROSS_ENTROPY = "cut-cross-entropy", "logits in a kernel's registers alone, computed again in backward (Apple)"

    @property
    def is_fused(self) -> bool:
        """Returns whether the loss multiplies by the head's weight itself."""
        return self in (Loss.LIGER_FUSED_LINEAR, Loss.CHUNKED, Loss.CUT_CROSS_ENTROPY)

    @property
    def is_earlier(self) -> bool:
        """Returns whether an earlier transformers computes the loss, and today's does not."""
        return self in (Loss.TRANSFORMERS_4_48, Loss.TRANSFORMERS_4_45)

    @classmethod
    def open_to(cls) -> tuple[type, ...]:
        """Returns the type of None: a loss has no facts, and needs an entry in `planner.memory.losses.loss.LOSSES`."""
        return (type(None),)


AXIS = axis_of(Loss, phrase="{} loss")
