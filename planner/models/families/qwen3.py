"""Describes Qwen3.

Source: transformers/models/qwen3/modeling_qwen3.py.
"""

from __future__ import annotations

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forward import Forward, T


class Qwen3(Llama):
    """Extends Llama: an RMSNorm runs over each head of q and k."""

    num_key_value_heads: Size | None = 32
    head_dim: Size | None = 128
    mlp_bias: Ignored = False

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        width, bias = self.head_width, self.attention_bias
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * width, bias=bias)
        query = f.rms_norm("self_attn.q_norm", query, width=width)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * width, bias=bias)
        key = f.rms_norm("self_attn.k_norm", key, width=width)
        return query, key, f.linear("self_attn.v_proj", x, self.kv_heads * width, bias=bias)


Architecture = Qwen3
