"""Describes OLMoE.

Source: transformers/models/olmoe/modeling_olmoe.py.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.families.qwen3_moe import LAYERS
from planner.models.vocabulary.forward import Forward, T


class Olmoe(Llama):
    """Extends Llama: norms run over all of q and k, and a mixture of experts takes the place of the MLP."""

    supports_flex: ClassVar[bool] = False

    mlp_bias: Ignored = False
    num_experts: Size = Field(64, validation_alias=AliasChoices("num_experts", "num_local_experts"))
    num_experts_per_tok: Size = 8
    norm_topk_prob: bool = False

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        width, bias = self.head_width, self.attention_bias
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * width, bias=bias)
        query = f.rms_norm("self_attn.q_norm", query, width=self.hidden_size)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * width, bias=bias)
        key = f.rms_norm("self_attn.k_norm", key, width=self.hidden_size // self.num_attention_heads * self.kv_heads)
        return query, key, f.linear("self_attn.v_proj", x, self.kv_heads * width, bias=bias)

    def mlp(self, f: Forward[T], x: T) -> T:
        experts, top_k = self.num_experts, self.num_experts_per_tok
        scores = f.route("mlp.gate", x, experts, top_k, normalizes=self.norm_topk_prob, target="gate")
        width = self.intermediate_size
        return f.experts("mlp.experts", x, scores, experts, width, self.hidden_act, layers=LAYERS)


Architecture = Olmoe
