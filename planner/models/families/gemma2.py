"""Describes Gemma 2, which transformers runs with eager attention, since SDPA has no soft-capping.

Windows change only the FLOPs of attention and the mask's values. Source: transformers/models/gemma2/modeling_gemma2.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.gemma import Gemma
from planner.models.vocabulary.forward import Forward, T


class Gemma2(Gemma):
    """Extends Gemma: four norms in a block, soft-capped scores and logits, and a window on every other layer."""

    supports_sdpa: ClassVar[bool] = False
    num_masks: ClassVar[int] = 2

    num_key_value_heads: Size | None = 4
    hidden_act: str = Field("gelu_pytorch_tanh", validation_alias=AliasChoices("hidden_activation", "hidden_act"))
    attn_logit_softcapping: float | None = 50.0
    final_logit_softcapping: float | None = 30.0

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.rms_norm("input_layernorm", x, order=self.norm_order)
        x = self.attention_of(f, x, kind)
        x = f.rms_norm("post_attention_layernorm", x, order=self.norm_order)
        x = f.add(residual, x)
        residual = x
        x = f.rms_norm("pre_feedforward_layernorm", x, order=self.norm_order)
        x = self.mlp(f, x)
        x = f.rms_norm("post_feedforward_layernorm", x, order=self.norm_order)
        return f.add(residual, x)

    def attention_of(self, f: Forward[T], x: T, kind: Hashable) -> T:
        """Computes the attention sublayer of a layer of this kind."""
        return self.attention(f, x)

    def attend(self, f: Forward[T], query: T, key: T, value: T) -> T:
        heads, kv_heads, capped = self.num_attention_heads, self.kv_heads, self.attn_logit_softcapping is not None
        x = f.attention(
            query, key, value, heads=heads, kv_heads=kv_heads, dropout=self.attention_dropout, capped=capped
        )
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.rms_norm("norm", x, order=self.norm_order)
        logits = f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)
        return logits if self.final_logit_softcapping is None else f.cap(logits)


Architecture = Gemma2
