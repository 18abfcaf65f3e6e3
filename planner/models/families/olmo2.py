"""Describes OLMo 2.

Source: transformers/models/olmo2/modeling_olmo2.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forms import NormOrder
from planner.models.vocabulary.forward import Forward, T


class Olmo2(Llama):
    """Extends Llama: norms follow attention and MLP, and run over all of q and k; the rotary table is in fp32."""

    norm_order: ClassVar[NormOrder] = "scale_then_cast"

    mlp_bias: Ignored = False

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = self.attention(f, x)
        x = f.rms_norm("post_attention_layernorm", x, order=self.norm_order)
        x = f.add(residual, x)
        residual = x
        x = self.mlp(f, x)
        x = f.rms_norm("post_feedforward_layernorm", x, order=self.norm_order)
        return f.add(residual, x)

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.head_width, fp32=True)
        return x

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        query = f.rotate(query, head_dim=self.head_width, casts="result")
        key = f.rotate(key, head_dim=self.head_width, casts="result")
        return self.attend(f, query, key, value)

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        width, bias = self.head_width, self.attention_bias
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * width, bias=bias)
        query = f.rms_norm("self_attn.q_norm", query, order=self.norm_order)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * width, bias=bias)
        key = f.rms_norm("self_attn.k_norm", key, order=self.norm_order)
        return query, key, f.linear("self_attn.v_proj", x, self.kv_heads * width, bias=bias)


Architecture = Olmo2
