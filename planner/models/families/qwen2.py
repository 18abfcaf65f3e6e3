"""Describes Qwen2 and Qwen2.5.

Source: transformers/models/qwen2/modeling_qwen2.py.
"""

from __future__ import annotations

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forward import Forward, T


class Qwen2(Llama):
    """Extends Llama: the projections of q, k and v have biases."""

    num_key_value_heads: Size | None = 32
    attention_bias: Ignored = False
    mlp_bias: Ignored = False

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * self.head_width, bias=True)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * self.head_width, bias=True)
        value = f.linear("self_attn.v_proj", x, self.kv_heads * self.head_width, bias=True)
        return query, key, value


Architecture = Qwen2
