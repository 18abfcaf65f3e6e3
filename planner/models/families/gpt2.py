"""Describes GPT-2.

Source: transformers/models/gpt2/modeling_gpt2.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.architecture import Positions
from planner.models.decoder import Decoder, Layers, Probability, Size
from planner.models.vocabulary.forward import Forward, T


def _named(hugging_face: str, own: str) -> AliasChoices:
    return AliasChoices(hugging_face, own)


class GPT2(Decoder):
    """Describes a decoder with learned positions, LayerNorm, one projection for q, k and v, and dropout."""

    supports_flex: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "wte"
    positions: ClassVar[Positions] = "learned"
    linear_class: ClassVar[str] = "Conv1D"

    hidden_size: Size = Field(validation_alias=_named("n_embd", "hidden_size"))
    num_hidden_layers: Layers = Field(validation_alias=_named("n_layer", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=_named("n_head", "num_attention_heads"))
    max_position_embeddings: Size = Field(validation_alias=_named("n_positions", "max_position_embeddings"))
    n_inner: Size | None = None
    activation_function: str = "gelu_new"
    attn_pdrop: Probability = 0.1
    embd_pdrop: Probability = 0.1
    resid_pdrop: Probability = 0.1
    tie_word_embeddings: bool = True

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("wte", self.vocab_size, self.hidden_size)
        positions = f.positions("wpe", self.max_position_embeddings, self.hidden_size)
        f.keep_in_body(positions)
        x = f.add(x, positions)
        return f.dropout(x, self.embd_pdrop)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("ln_1", x)
        attention = self.attention(f, x)
        x = f.add(attention, residual)
        residual = x
        x = f.layer_norm("ln_2", x)
        return f.add(residual, self.mlp(f, x))

    def attention(self, f: Forward[T], x: T) -> T:
        fused = f.linear("attn.c_attn", x, 3 * self.hidden_size, bias=True)
        query, key, value = f.slices(fused, [self.hidden_size] * 3, split=True)
        heads = self.num_attention_heads
        x = f.attention(query, key, value, heads=heads, kv_heads=heads, dropout=self.attn_pdrop, upcast=False)
        return f.dropout(f.linear("attn.c_proj", x, self.hidden_size, bias=True), self.resid_pdrop)

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.linear("mlp.c_fc", x, self.n_inner or 4 * self.hidden_size, bias=True)
        x = f.activation(self.activation_function, x)
        x = f.linear("mlp.c_proj", x, self.hidden_size, bias=True)
        return f.dropout(x, self.resid_pdrop)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("ln_f", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = GPT2
