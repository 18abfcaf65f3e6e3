"""Describes StableLM 3B-4E1T and StableLM 2.

Source: transformers/models/stablelm/modeling_stablelm.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from planner.models.decoder import Probability, Share, Size, partial_rotary_factor
from planner.models.families.llama import Ignored, PartlyRotated
from planner.models.vocabulary.forward import Forward, T


class StableLm(PartlyRotated):
    """Extends Llama: LayerNorm, a part of each head rotated, and in the 12B model attention and MLP in parallel."""

    supports_flex: ClassVar[bool] = False

    num_key_value_heads: Size | None = 32
    head_dim: Annotated[None, BeforeValidator(lambda _: None)] = None
    """Always None: heads divide the hidden size, whatever a file says."""
    attention_bias: Ignored = False
    mlp_bias: Ignored = False
    use_qkv_bias: bool = False
    qk_layernorm: bool = False
    use_parallel_residual: bool = False
    hidden_dropout: Probability = 0.0
    partial_rotary_factor: Share = partial_rotary_factor(0.25)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("input_layernorm", x)
        attention = self.attention(f, x)
        if self.use_parallel_residual:
            mlp = f.dropout(self.mlp(f, x), self.hidden_dropout)
            return f.add(f.add(residual, attention), mlp)
        residual = f.add(residual, attention)
        mlp = f.dropout(self.mlp(f, f.layer_norm("post_attention_layernorm", residual)), self.hidden_dropout)
        return f.add(residual, mlp)

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        heads, kv_heads, width, bias = self.num_attention_heads, self.kv_heads, self.head_width, self.use_qkv_bias
        query = f.linear("self_attn.q_proj", x, heads * width, bias=bias)
        key = f.linear("self_attn.k_proj", x, kv_heads * width, bias=bias)
        value = f.linear("self_attn.v_proj", x, kv_heads * width, bias=bias)
        if self.qk_layernorm:
            query = self.norm_per_head(f, "self_attn.q_layernorm", query, heads)
            key = self.norm_per_head(f, "self_attn.k_layernorm", key, kv_heads)
        return query, key, value

    def norm_per_head(self, f: Forward[T], name: str, x: T, heads: int) -> T:
        """Applies a LayerNorm of its own to each head."""
        parts = f.slices(x, [self.head_width] * heads, split=True)
        return f.join([f.layer_norm(f"{name}.norms.{i}", part, bias=False) for i, part in enumerate(parts)])

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        # Views of the columns that are not rotated keep the projections alive until the method returns.
        rotated = f.rotate(query, head_dim=self.head_width, rotary_dim=self.rotary_dim, joins=True)
        rotated_key = f.rotate(key, head_dim=self.head_width, rotary_dim=self.rotary_dim, joins=True)
        return self.attend(f, rotated, rotated_key, value)

    def head(self, f: Forward[T], x: T) -> T:
        return f.lm_head("lm_head", f.layer_norm("norm", x), self.vocab_size, tied_to=self.tied_to)


Architecture = StableLm
