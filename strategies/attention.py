"""Defines the axis of attention kernels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from strategies.axis import axis_of
from strategies.choice import Choice


class AttentionFacts(NamedTuple):
    """Says what a kernel runs on."""

    half_only: bool = False
    """Whether it computes in half precision only."""
    capability: tuple[float, float] | None = None
    """First and last CUDA compute capability that its kernels are built for; None if every GPU has some."""


# flash-attn: csrc/flash_attn/flash_api.cpp, `mha_fwd`, "only supports Ampere GPUs or newer", "only support fp16 and
# bf16 data type"; hopper/setup.py builds FlashAttention 3's for sm90a.
class Attention(Choice):
    """Names the values of transformers' `attn_implementation`.

    SDPA runs the flash kernel in half precision where the GPU has it, and the memory-efficient kernel elsewhere;
    neither stores the scores. The memory-efficient kernel does not take grouped keys and values: `sdpa` gives these to
    the math kernel, which stores the scores, and `sdpa-efficient` repeats them before, as transformers did in all cases
    before it had `use_gqa_in_sdpa` (integrations/sdpa_attention.py), and does since with a mask.
    """

    facts: AttentionFacts

    EAGER = "eager", "matrix products and a softmax: stores heads x sequence^2 scores", AttentionFacts()
    SDPA = (
        "sdpa",
        "torch scaled_dot_product_attention: scores are stored only where no fused kernel takes grouped heads",
        AttentionFacts(),
    )
    SDPA_EFFICIENT = (
        "sdpa-efficient",
        "SDPA's memory-efficient kernel (sdpa_kernel(EFFICIENT_ATTENTION)); grouped heads are repeated for it",
        AttentionFacts(),
    )
    FLASH_2 = (
        "flash-attention-2",
        "the flash-attn package: windows and soft-capping without masks or scores",
        AttentionFacts(half_only=True, capability=(8.0, 12.1)),
    )
    FLASH_3 = (
        "flash-attention-3",
        "the flash-attn package's kernels for Hopper",
        AttentionFacts(half_only=True, capability=(9.0, 9.0)),
    )
    FLEX = "flex", "torch flex_attention, compiled: windows and soft-capping without masks or scores", AttentionFacts()

    @property
    def is_flash(self) -> bool:
        """Returns whether the kernel is one of the flash-attn package, which takes no mask."""
        return self in (Attention.FLASH_2, Attention.FLASH_3)

    @classmethod
    def spellings(cls) -> Mapping[str, str]:
        """Returns the other names of transformers' `attn_implementation`."""
        return {"flex_attention": cls.FLEX}

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns what people call the kernels for short."""
        return {"fa2": cls.FLASH_2, "fa3": cls.FLASH_3, "math": cls.EAGER, "default": cls.SDPA}


AXIS = axis_of(Attention, phrase="{} attention")
