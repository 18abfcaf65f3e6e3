"""The axis of attention kernels."""

from __future__ import annotations

from strategies.axis import Choice


class Attention(Choice):
    """`attn_implementation` of transformers. SDPA runs the flash kernel where the GPU has it, the memory-efficient one
    elsewhere: neither stores the scores."""

    EAGER = "eager", "matrix products and a softmax: stores heads x sequence^2 scores"
    SDPA = "sdpa", "torch scaled_dot_product_attention: scores are never stored"
