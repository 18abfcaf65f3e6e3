"""Describes OLMo 1.

Source: transformers/models/olmo/modeling_olmo.py. Left out: `clip_qkv`, which clips in place with a byte per element.
"""

from __future__ import annotations

from collections.abc import Hashable

from planner.models.families.llama import Ignored, Llama
from planner.models.vocabulary.forward import Forward, T


class Olmo(Llama):
    """Extends Llama: the LayerNorm runs in fp32 and has no parameters, and the rotary table is in fp32."""

    mlp_bias: Ignored = False

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.head_width, fp32=True)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = self.norm(f, "input_layernorm", x)
        x = self.attention(f, x)
        x = f.add(residual, x)
        residual = x
        x = self.norm(f, "post_attention_layernorm", x)
        x = self.mlp(f, x)
        return f.add(residual, x)

    def norm(self, f: Forward[T], name: str, x: T) -> T:
        """Applies a LayerNorm without parameters, in fp32."""
        return f.layer_norm(name, x, affine=False, form="fused_in_fp32")

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        query = f.rotate(query, head_dim=self.head_width, casts="result")
        key = f.rotate(key, head_dim=self.head_width, casts="result")
        return self.attend(f, query, key, value)

    def head(self, f: Forward[T], x: T) -> T:
        return f.lm_head("lm_head", self.norm(f, "norm", x), self.vocab_size, tied_to=self.tied_to)


Architecture = Olmo
