"""Describes the text part of Gemma 3.

Source: transformers/models/gemma3/modeling_gemma3.py; defaults are those of Gemma3TextConfig, which published files
leave out.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import Field, model_validator

from planner.models.decoder import Size
from planner.models.families.gemma2 import Gemma2
from planner.models.vocabulary.forward import Forward, T

SLIDING = "sliding_attention"
"""The layer type with a sliding window."""
PATTERN = 6
"""Every sixth layer attends to all tokens, unless `layer_types` or `sliding_window_pattern` says otherwise."""


class Gemma3Text(Gemma2):
    """Extends Gemma 2: no soft-capping, norms on q and k, and a rotary table for each kind of window."""

    supports_sdpa: ClassVar[bool] = True

    num_attention_heads: Size = 8
    vocab_size: Size = 262_208
    max_position_embeddings: Size = 131_072
    attn_logit_softcapping: float | None = Field(None, exclude=True)
    """Not used: eager attention does not read it."""
    final_logit_softcapping: float | None = None
    sliding_window: Size | None = 4096
    layer_types: tuple[str, ...] | None = None
    sliding_window_pattern: Size = Field(PATTERN, exclude=True)

    @model_validator(mode="after")
    def _type_of_every_layer(self) -> Gemma3Text:
        if self.layer_types is not None:
            return self
        types = (
            "full_attention" if (i + 1) % self.sliding_window_pattern == 0 else SLIDING
            for i in range(self.num_hidden_layers)
        )
        return self.model_copy(update={"layer_types": tuple(types)})

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size, scaled=True)
        for _ in set(self.layer_types or ()):
            f.rope_table(x, self.head_width)
        return x

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        width, bias, order = self.head_width, self.attention_bias, self.norm_order
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * width, bias=bias)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * width, bias=bias)
        value = f.linear("self_attn.v_proj", x, self.kv_heads * width, bias=bias)
        query = f.rms_norm("self_attn.q_norm", query, width=width, order=order)
        key = f.rms_norm("self_attn.k_norm", key, width=width, order=order)
        return query, key, value

    @property
    def window(self) -> int | None:
        return self.sliding_window if SLIDING in self.layer_kinds() else None

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns the type of every layer."""
        return self.layer_types or ()

    def attention_of(self, f: Forward[T], x: T, kind: Hashable) -> T:
        query, key, value = self.projections(f, x)
        query, key = f.rotate(query, head_dim=self.head_width), f.rotate(key, head_dim=self.head_width)
        heads, kv_heads, dropout = self.num_attention_heads, self.kv_heads, self.attention_dropout
        window = self.sliding_window if kind == SLIDING else None
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout, window=window)
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)


Architecture = Gemma3Text
