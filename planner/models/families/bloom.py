"""Describes BLOOM, which transformers runs with eager attention alone.

Source: transformers/models/bloom/modeling_bloom.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.architecture import Masking, Positions
from planner.models.decoder import Decoder, Layers, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class Bloom(Decoder):
    """Describes a decoder with ALiBi, to which the product of q and k is added.

    A LayerNorm follows the embedding, and GELU is an autograd function of the modeling file.
    """

    positions: ClassVar[Positions] = "alibi"
    supports_sdpa: ClassVar[bool] = False
    masking: ClassVar[Masking] = "beside_alibi"
    returns_probabilities: ClassVar[bool] = True
    supports_flash: ClassVar[bool] = False
    supports_flex: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "word_embeddings"

    hidden_size: Size = Field(validation_alias=AliasChoices("hidden_size", "n_embed"))
    num_hidden_layers: Layers = Field(validation_alias=AliasChoices("n_layer", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=AliasChoices("n_head", "num_attention_heads"))
    # The length BLOOM was trained with (arXiv 2211.05100, table 3); its configuration class has no such field.
    max_position_embeddings: Size = Field(2048, validation_alias=AliasChoices("seq_length", "max_position_embeddings"))
    apply_residual_connection_post_layernorm: bool = False
    hidden_dropout: Probability = 0.0
    attention_dropout: Probability = 0.0
    tie_word_embeddings: bool = True

    def stem(self, f: Forward[T]) -> T:
        embedded = f.embedding("word_embeddings", self.vocab_size, self.hidden_size)
        return f.layer_norm("word_embeddings_layernorm", embedded)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        normed = f.layer_norm("input_layernorm", x)
        residual = normed if self.apply_residual_connection_post_layernorm else x
        attention = self.attention(f, normed, residual)
        normed = f.layer_norm("post_attention_layernorm", attention)
        residual = normed if self.apply_residual_connection_post_layernorm else attention
        return self.mlp(f, normed, residual)

    def attention(self, f: Forward[T], x: T, residual: T) -> T:
        heads, hidden = self.num_attention_heads, self.hidden_size
        fused = f.linear("self_attention.query_key_value", x, 3 * hidden, bias=True)
        query, key, value = f.slices(fused, [hidden] * 3)
        query, key, value = f.repeat(query, hidden), f.repeat(key, hidden), f.repeat(value, hidden)
        x = f.own_attention(
            "alibi_in_product", query, key, value, heads=heads, kv_heads=heads, dropout=self.attention_dropout
        )
        x = f.linear("self_attention.dense", x, hidden, bias=True)
        return f.add(residual, f.dropout(x, self.hidden_dropout))

    def mlp(self, f: Forward[T], x: T, residual: T) -> T:
        x = f.activation("bloom_gelu", f.linear("mlp.dense_h_to_4h", x, 4 * self.hidden_size, bias=True))
        x = f.linear("mlp.dense_4h_to_h", x, self.hidden_size, bias=True)
        return f.add(residual, f.dropout(x, self.hidden_dropout))

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("ln_f", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = Bloom
