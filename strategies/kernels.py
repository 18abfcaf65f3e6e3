"""Defines the axis of kernels for norms, rotary embeddings and gated MLPs."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.axis import axis_of
from strategies.choice import Choice


class Kernels(Choice):
    """Says which implementation runs a block's norms, rotary embeddings and MLP.

    `liger` is Trainer's `use_liger_kernel`; liger's loss is a choice of the axis of losses. `compile` is
    `block.compile()` for every block, as in torchtitan and accelerate's `use_regional_compilation`.
    """

    EAGER = "eager", "transformers' own modules, operation by operation"
    LIGER = "liger", "liger-kernel's RMSNorm, SwiGLU or GeGLU and RoPE: backward in place"
    COMPILE = "compile", "torch.compile of each block: chains fused, pointwise results computed again in backward"

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns words for no kernels of others, and for compiled ones."""
        return {"none": cls.EAGER, "no": cls.EAGER, "inductor": cls.COMPILE}


AXIS = axis_of(Kernels, phrase="{} kernels")
