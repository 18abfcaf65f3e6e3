"""Describes DeepSeek-V2, V2-Lite and their Coder models.

Source: transformers/models/deepseek_v2/modeling_deepseek_v2.py.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.deepseek_v3 import Count, DeepseekV3
from planner.models.families.llama import Ignored
from planner.models.vocabulary.forms import RopeForm
from planner.models.vocabulary.forward import Forward, T


class DeepseekV2(DeepseekV3):
    """Extends DeepSeek-V3: the rotation is written with complex numbers, and the router is another one."""

    mlp_bias: bool = False
    moe_intermediate_size: Size = 1407
    n_routed_experts: Size = Field(64, validation_alias=AliasChoices("n_routed_experts", "num_experts"))
    n_shared_experts: Size = 2
    num_experts_per_tok: Size = 6
    n_group: Size | None = None
    topk_group: Size | None = None
    topk_method: Literal["greedy", "group_limited_greedy"] = "greedy"
    norm_topk_prob: Ignored = False
    first_k_dense_replace: Count = 0
    rope_interleave: Ignored = False

    @property
    def rope_form(self) -> RopeForm:
        return "complex"

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.qk_rope_head_dim // 2, fp32=True)  # a complex number for each pair of columns
        return x

    def route(self, f: Forward[T], x: T) -> T:
        experts, top_k, limited = self.n_routed_experts, self.num_experts_per_tok, self.topk_method != "greedy"
        return f.route(
            "mlp.gate", x, experts, top_k, normalizes=False, target="gate", form="softmax_in_fp32", limited=limited
        )


Architecture = DeepseekV2
