"""Describes GPT-NeoX and Pythia.

Source: transformers/models/gpt_neox/modeling_gpt_neox.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, AliasPath, Field

from planner.models.decoder import Decoder, Probability, Share, Size
from planner.models.vocabulary.forward import Forward, T


class GPTNeoX(Decoder):
    """Describes a decoder with attention and MLP in parallel, LayerNorm, and a part of each head rotated."""

    embedding_name: ClassVar[str] = "embed_in"

    intermediate_size: Size
    hidden_act: str = "gelu"
    rotary_pct: Share = Field(
        0.25, validation_alias=AliasChoices("rotary_pct", AliasPath("rope_parameters", "partial_rotary_factor"))
    )
    attention_bias: bool = True
    use_parallel_residual: bool = True
    attention_dropout: Probability = 0.0
    hidden_dropout: Probability = 0.0

    def stem(self, f: Forward[T]) -> T:
        x = f.dropout(f.embedding("embed_in", self.vocab_size, self.hidden_size), self.hidden_dropout)
        f.rope_table(x, int(self.hidden_size // self.num_attention_heads * self.rotary_pct))
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        normed = f.layer_norm("input_layernorm", x)  # the call of a module holds its arguments until it returns
        attention = self.attention(f, normed)
        del normed
        attention = f.dropout(attention, self.hidden_dropout)
        if self.use_parallel_residual:
            normed = f.layer_norm("post_attention_layernorm", x)
            mlp = self.mlp(f, normed)
            del normed
            mlp = f.dropout(mlp, self.hidden_dropout)
            return f.add(f.add(mlp, attention), x)
        attention = f.add(attention, x)
        normed = f.layer_norm("post_attention_layernorm", attention)
        mlp = self.mlp(f, normed)
        del normed
        mlp = f.dropout(mlp, self.hidden_dropout)
        return f.add(mlp, attention)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, width = self.num_attention_heads, self.hidden_size // self.num_attention_heads
        fused = f.linear("attention.query_key_value", x, 3 * self.hidden_size, bias=self.attention_bias)
        query, key, value = f.slices(fused, [self.hidden_size] * 3, split=True)
        rotary = int(width * self.rotary_pct)
        query = f.rotate(query, head_dim=width, rotary_dim=rotary, joins=True)
        key = f.rotate(key, head_dim=width, rotary_dim=rotary, joins=True)
        x = f.attention(query, key, value, heads=heads, kv_heads=heads, dropout=self.attention_dropout)
        return f.linear("attention.dense", x, self.hidden_size, bias=self.attention_bias)

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.linear("mlp.dense_h_to_4h", x, self.intermediate_size, bias=True)
        x = f.activation(self.hidden_act, x)
        return f.linear("mlp.dense_4h_to_h", x, self.hidden_size, bias=True)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("final_layer_norm", x)
        return f.lm_head("embed_out", x, self.vocab_size, tied_to=self.tied_to)


Architecture = GPTNeoX
