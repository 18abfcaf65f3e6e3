"""Describes Falcon 7B, 40B and RW.

Source: transformers/models/falcon/modeling_falcon.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar, Literal

from pydantic import model_validator

from planner.models.architecture import Masking, Positions
from planner.models.decoder import Decoder, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class Falcon(Decoder):
    """Describes a decoder with attention and MLP in parallel.

    It has one head of keys and values (7B), a few (40B), or one for each query head and ALiBi (RW).
    """

    returns_probabilities: ClassVar[bool] = True
    supports_flex: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "word_embeddings"

    max_position_embeddings: Size = 2048
    num_kv_heads: Size | None = None
    ffn_hidden_size: Size | None = None
    activation: str = "gelu"
    alibi: bool = False
    new_decoder_architecture: bool = False
    multi_query: bool = True
    parallel_attn: bool = True
    num_ln_in_parallel_attn: Literal[1, 2] | None = None
    bias: bool = False
    hidden_dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    tie_word_embeddings: bool = True

    @model_validator(mode="after")
    def _groups_divide(self) -> Falcon:
        if self.new_decoder_architecture and self.num_attention_heads % self.kv_heads:
            heads, kv_heads = self.num_attention_heads, self.kv_heads
            raise ValueError(f"num_attention_heads ({heads}) is not a multiple of num_kv_heads ({kv_heads})")
        return self

    @property
    def positions(self) -> Positions:  # type: ignore[override]  # differs from model to model
        return "alibi" if self.alibi else "rotary"

    @property
    def masking(self) -> Masking:  # type: ignore[override]  # differs from model to model
        return "alibi" if self.alibi else "always"

    @property
    def head_width(self) -> int:
        """Returns the columns of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def kv_heads(self) -> int:
        """Returns the number of heads of keys and values."""
        if self.multi_query and not self.new_decoder_architecture:
            return 1
        own = self.num_kv_heads if self.new_decoder_architecture else None
        return own or self.num_attention_heads

    @property
    def two_norms(self) -> bool:
        """Returns whether a block's input has two norms, one for attention and one for the MLP."""
        return self.new_decoder_architecture and self.parallel_attn and self.num_ln_in_parallel_attn in (None, 2)

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("word_embeddings", self.vocab_size, self.hidden_size)
        if not self.alibi:
            f.rope_table(x, self.head_width)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        mlp_input = attention_input = f.layer_norm("ln_attn" if self.two_norms else "input_layernorm", x)
        if self.two_norms:
            mlp_input = f.layer_norm("ln_mlp", x)
        attention = self.attention(f, attention_input)
        if not self.parallel_attn:
            residual = f.add(residual, f.dropout(attention, self.attention_dropout))
            mlp_input = f.layer_norm("post_attention_layernorm", residual)
        mlp = self.mlp(f, mlp_input)
        if self.new_decoder_architecture or self.parallel_attn:
            mlp = f.add_(mlp, attention)
        return f.add(residual, f.dropout(mlp, self.hidden_dropout))

    def attention(self, f: Forward[T], x: T) -> T:
        heads, width, hidden = self.num_attention_heads, self.head_width, self.hidden_size
        columns = [hidden, self.kv_heads * width, self.kv_heads * width]
        fused = f.linear("self_attention.query_key_value", x, sum(columns), bias=self.bias, written_out=True)
        query, key, value = f.slices(fused, columns)
        kv_heads = heads
        if self.new_decoder_architecture:
            query, key, value = f.repeat(query, hidden), f.repeat(key, hidden), f.repeat(value, hidden)
        elif self.multi_query:  # a head is taken by its index, which copies
            query, key, value, kv_heads = query, f.repeat(key, width), f.repeat(value, width), 1
        if not self.alibi:
            query, key = f.rotate(query, head_dim=width), f.rotate(key, head_dim=width)
        form: Literal["alibi_in_fp32", "scaled_in_place"] = "alibi_in_fp32" if self.alibi else "scaled_in_place"
        dropout = self.attention_dropout if self.alibi else 0.0
        x = f.own_attention(form, query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout)
        return f.linear("self_attention.dense", x, hidden, bias=self.bias, written_out=True)

    def mlp(self, f: Forward[T], x: T) -> T:
        inner = self.ffn_hidden_size or 4 * self.hidden_size
        x = f.activation(self.activation, f.linear("mlp.dense_h_to_4h", x, inner, bias=self.bias, written_out=True))
        return f.linear("mlp.dense_4h_to_h", x, self.hidden_size, bias=self.bias, written_out=True)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("ln_f", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = Falcon
