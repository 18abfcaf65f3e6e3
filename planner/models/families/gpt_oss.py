"""Describes gpt-oss, which transformers runs with eager attention, since SDPA has no sinks.

Windows change only the mask's values. Source: transformers/models/gpt_oss/modeling_gpt_oss.py.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forms import NormOrder
from planner.models.vocabulary.forward import Forward, T


class GptOss(Llama):
    """Extends Llama: a learned sink for each head, a window on every other layer, and experts with biases."""

    norm_order: ClassVar[NormOrder] = "scale_then_cast"
    supports_sdpa: ClassVar[bool] = False
    num_masks: ClassVar[int] = 2
    packs_experts: ClassVar[bool] = True
    # transformers/quantizers/quantizer_mxfp4.py, `is_trainable`
    notes: ClassVar[tuple[str, ...]] = (
        "the checkpoint is in MXFP4, which cannot be trained: plans are for Mxfp4Config(dequantize=True).",
    )

    num_key_value_heads: Size | None = 8
    head_dim: Size | None = 64
    attention_bias: bool = True
    mlp_bias: Ignored = False
    num_local_experts: Size = Field(128, validation_alias=AliasChoices("num_local_experts", "num_experts"))
    num_experts_per_tok: Size = 4

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.head_width // 2)
        return x

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        width = self.head_width
        query, key = f.rotate_halves(query, head_dim=width), f.rotate_halves(key, head_dim=width)
        x = f.own_attention(
            "sinks",
            query,
            key,
            value,
            heads=self.num_attention_heads,
            kv_heads=self.kv_heads,
            dropout=self.attention_dropout,
            name="self_attn.sinks",
        )
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)

    def mlp(self, f: Forward[T], x: T) -> T:
        experts, top_k = self.num_local_experts, self.num_experts_per_tok
        return f.biased_experts("mlp.router", "mlp.experts", x, experts, top_k, self.intermediate_size)


Architecture = GptOss
