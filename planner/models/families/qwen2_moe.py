"""Describes Qwen2-MoE.

Source: transformers/models/qwen2_moe/modeling_qwen2_moe.py.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.qwen3_moe import Qwen3Moe
from planner.models.vocabulary.forward import Forward, T


class Qwen2Moe(Qwen3Moe):
    """Extends Qwen3-MoE: attention is that of Qwen2, and a shared expert is next to the routed ones."""

    adapts_experts: ClassVar[bool] = False
    """False: PEFT 0.21 does not convert this model type (peft/utils/transformers_weight_conversion.py)."""

    num_key_value_heads: Size | None = 16
    num_experts: Size = Field(60, validation_alias=AliasChoices("num_experts", "num_local_experts"))
    num_experts_per_tok: Size = 4
    moe_intermediate_size: Size = 1408
    shared_expert_intermediate_size: Size = 5632
    qkv_bias: bool = True

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        width, bias = self.head_width, self.qkv_bias
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * width, bias=bias)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * width, bias=bias)
        return query, key, f.linear("self_attn.v_proj", x, self.kv_heads * width, bias=bias)

    def attend(self, f: Forward[T], query: T, key: T, value: T) -> T:
        heads, kv_heads = self.num_attention_heads, self.kv_heads
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=self.attention_dropout)
        return f.linear("self_attn.o_proj", x, self.hidden_size)

    def mixture(self, f: Forward[T], x: T) -> T:
        shared = self.gated(f, "mlp.shared_expert", x, self.shared_expert_intermediate_size)
        routed = super().mixture(f, x)
        shared = f.mul(f.sigmoid(f.linear("mlp.shared_expert_gate", x, 1)), shared)
        return f.add(routed, shared)


Architecture = Qwen2Moe
