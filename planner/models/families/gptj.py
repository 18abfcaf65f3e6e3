"""Describes GPT-J.

Source: transformers/models/gptj/modeling_gptj.py of 5.24; earlier releases run it without SDPA. Left out: the body's
buffer of sin and cos, 4 bytes for each of `n_positions x rotary_dim`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, Field, model_validator

from planner.models.decoder import Decoder, Layers, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class GPTJ(Decoder):
    """Describes a decoder with attention and MLP in parallel, scores in fp32, and a part of each head rotated."""

    embedding_name: ClassVar[str] = "wte"

    hidden_size: Size = Field(validation_alias=AliasChoices("n_embd", "hidden_size"))
    num_hidden_layers: Layers = Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))
    max_position_embeddings: Size = Field(validation_alias=AliasChoices("n_positions", "max_position_embeddings"))
    n_inner: Size | None = None
    rotary_dim: Size = 64
    activation_function: str = "gelu_new"
    attn_pdrop: Probability = 0.0
    embd_pdrop: Probability = 0.0
    resid_pdrop: Probability = 0.0

    @model_validator(mode="after")
    def _rotation_within_a_head(self) -> GPTJ:
        width = self.hidden_size // self.num_attention_heads
        if self.rotary_dim > width:
            raise ValueError(f"rotary_dim ({self.rotary_dim}) is larger than a head ({width})")
        return self

    def stem(self, f: Forward[T]) -> T:
        x = f.dropout(f.embedding("wte", self.vocab_size, self.hidden_size), self.embd_pdrop)
        f.rope_table(x, self.rotary_dim // 2, repeated=True)  # `sincos` has as many columns as are rotated
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("ln_1", x)
        attention = self.attention(f, x)
        mlp = self.mlp(f, x)
        return f.add(f.add(attention, mlp), residual)

    def attention(self, f: Forward[T], x: T) -> T:
        heads = self.num_attention_heads
        query = f.linear("attn.q_proj", x, self.hidden_size)
        key = f.linear("attn.k_proj", x, self.hidden_size)
        value = f.linear("attn.v_proj", x, self.hidden_size)
        # Views of the columns that are not rotated keep the projections alive until the method returns.
        rotated_key = self._rotated(f, key)
        rotated = self._rotated(f, query)
        x = f.attention(rotated, rotated_key, value, heads=heads, kv_heads=heads, dropout=self.attn_pdrop, fp32=True)
        return f.dropout(f.linear("attn.out_proj", x, self.hidden_size), self.resid_pdrop)

    def _rotated(self, f: Forward[T], x: T) -> T:
        width = self.hidden_size // self.num_attention_heads
        return f.rotate(x, head_dim=width, rotary_dim=self.rotary_dim, joins=True, tokens_first=True, form="repeated")

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.linear("mlp.fc_in", x, self.n_inner or 4 * self.hidden_size, bias=True)
        x = f.linear("mlp.fc_out", f.activation(self.activation_function, x), self.hidden_size, bias=True)
        return f.dropout(x, self.resid_pdrop)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("ln_f", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to, bias=True)


Architecture = GPTJ
