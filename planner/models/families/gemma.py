"""Describes Gemma 1.

Source: transformers/models/gemma/modeling_gemma.py.
"""

from __future__ import annotations

from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forms import NormOrder
from planner.models.vocabulary.forward import Forward, T


class Gemma(Llama):
    """Extends Llama: scaled embeddings, RMSNorm with its weight in fp32, and a gated GELU."""

    norm_order: ClassVar[NormOrder] = "scale_in_fp32"

    num_key_value_heads: Size | None = 16
    head_dim: Size | None = 256
    mlp_bias: Ignored = False
    tie_word_embeddings: bool = True
    hidden_act: str = Field("gelu_pytorch_tanh", validation_alias=AliasChoices("hidden_act", "hidden_activation"))

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size, scaled=True)
        f.rope_table(x, self.head_width)
        return x


Architecture = Gemma
