"""Describes MPT, which transformers runs with eager attention alone.

Source: transformers/models/mpt/modeling_mpt.py, which ignores most fields of MptConfig (`expansion_ratio`, `no_bias`,
`learned_pos_emb`, `logit_scale`, ...).
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, ClassVar

from pydantic import AliasChoices, AliasPath, Field

from planner.models.architecture import Masking, Positions
from planner.models.decoder import Decoder, Layers, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class Mpt(Decoder):
    """Describes a decoder with ALiBi in fp32, and no biases anywhere."""

    positions: ClassVar[Positions] = "alibi"
    supports_sdpa: ClassVar[bool] = False
    masking: ClassVar[Masking] = "booleans"
    returns_probabilities: ClassVar[bool] = True
    supports_flash: ClassVar[bool] = False
    supports_flex: ClassVar[bool] = False
    embedding_name: ClassVar[str] = "wte"

    hidden_size: Size = Field(validation_alias=AliasChoices("d_model", "hidden_size"))
    num_hidden_layers: Layers = Field(validation_alias=AliasChoices("n_layers", "num_hidden_layers"))
    num_attention_heads: Size = Field(validation_alias=AliasChoices("n_heads", "num_attention_heads"))
    max_position_embeddings: Size = Field(2048, validation_alias=AliasChoices("max_seq_len", "max_position_embeddings"))
    clip_qkv: float | None = Field(None, validation_alias=AliasPath("attn_config", "clip_qkv"))
    attn_pdrop: Probability = Field(0.0, validation_alias=AliasPath("attn_config", "attn_pdrop"))
    tie_word_embeddings: bool = True

    def config(self) -> dict[str, Any]:
        fields = super().config()
        nested = {name: fields.pop(name) for name in ("clip_qkv", "attn_pdrop") if name in fields}
        return {**fields, "attn_config": {name: value for name, value in nested.items() if value}}

    def stem(self, f: Forward[T]) -> T:
        return f.embedding("wte", self.vocab_size, self.hidden_size)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        normed = f.layer_norm("norm_1", x, bias=False)
        residual = x
        attention = self.attention(f, normed)
        x = f.add(f.dropout(attention, self.attn_pdrop), residual)
        normed = f.layer_norm("norm_2", x, bias=False)
        return self.mlp(f, normed, x)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, hidden = self.num_attention_heads, self.hidden_size
        mixed = f.linear("attn.Wqkv", x, 3 * hidden)
        if self.clip_qkv:
            mixed = f.clamp(mixed)
        query, key, value = f.slices(mixed, [hidden] * 3, split=True)
        x = f.own_attention("alibi_added", query, key, value, heads=heads, kv_heads=heads, dropout=self.attn_pdrop)
        return f.linear("attn.out_proj", x, hidden)

    def mlp(self, f: Forward[T], x: T, residual: T) -> T:
        x = f.activation("gelu", f.linear("ffn.up_proj", x, 4 * self.hidden_size))
        x = f.linear("ffn.down_proj", x, self.hidden_size)
        return f.add(f.dropout(x, self.attn_pdrop), residual)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("norm_f", x, bias=False)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = Mpt
