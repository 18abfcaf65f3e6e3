"""The axis of attention kernels."""

from __future__ import annotations

from strategies.axis import Choice, axis_of


class Attention(Choice):
    """`attn_implementation` of transformers. SDPA runs the flash kernel in half precision where the GPU has it, the
    memory-efficient one elsewhere: neither stores the scores. Grouped keys and values, which the latter does not take,
    are left to the math kernel, which does."""

    EAGER = "eager", "matrix products and a softmax: stores heads x sequence^2 scores"
    SDPA = (
        "sdpa",
        "torch scaled_dot_product_attention: scores are stored only where no fused kernel takes grouped heads",
    )


AXIS = axis_of(Attention, phrase="{} attention")
