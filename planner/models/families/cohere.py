"""Describes Command-R.

Source: transformers/models/cohere/modeling_cohere.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forward import Forward, T


class Cohere(Llama):
    """Extends Llama: attention and MLP in parallel after one LayerNorm written out in fp32, and scaled logits."""

    mlp_bias: Ignored = False
    use_qk_norm: bool = False
    tie_word_embeddings: bool = True

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("input_layernorm", x, form="written_out")
        attention = self.attention(f, x)
        mlp = self.mlp(f, x)
        return f.add(f.add(residual, attention), mlp)

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        query, key, value = super().projections(f, x)
        if self.use_qk_norm:
            query = f.layer_norm("self_attn.q_norm", query, width=self.head_width, form="written_out")
            key = f.layer_norm("self_attn.k_norm", key, width=self.head_width, form="written_out")
        return query, key, value

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        query = f.rotate(query, head_dim=self.head_width, casts="both")
        key = f.rotate(key, head_dim=self.head_width, casts="both")
        return self.attend(f, query, key, value)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("norm", x, form="written_out")
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to, scaled=True)


Architecture = Cohere
