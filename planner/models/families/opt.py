"""Describes OPT.

Source: transformers/models/opt/modeling_opt.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from planner.models.architecture import Positions
from planner.models.decoder import Decoder, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class OPT(Decoder):
    """Describes a decoder with LayerNorm, ReLU, and learned positions that begin at an offset of two."""

    packs: ClassVar[bool] = False  # its mask is made without regard to positions
    positions: ClassVar[Positions] = "learned"

    ffn_dim: Size
    word_embed_proj_dim: Size | None = None
    activation_function: str = "relu"
    do_layer_norm_before: bool = True
    enable_bias: bool = True
    layer_norm_elementwise_affine: bool = True
    dropout: Probability = 0.1
    attention_dropout: Probability = 0.0
    tie_word_embeddings: bool = True

    def stem(self, f: Forward[T]) -> T:
        embedding_width = self.word_embed_proj_dim or self.hidden_size
        x = f.embedding("embed_tokens", self.vocab_size, embedding_width)
        positions = f.positions("embed_positions", self.max_position_embeddings + 2, self.hidden_size)
        f.keep_in_body(positions)
        if embedding_width != self.hidden_size:
            x = f.linear("project_in", x, self.hidden_size)
        return f.add(x, positions)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        if self.do_layer_norm_before:
            x = self.norm(f, "self_attn_layer_norm", x)
        x = self.attention(f, x)
        x = f.dropout(x, self.dropout)
        x = f.add(residual, x)
        if not self.do_layer_norm_before:
            x = self.norm(f, "self_attn_layer_norm", x)
        residual = x
        if self.do_layer_norm_before:
            x = self.norm(f, "final_layer_norm", x)
        x = f.linear("fc1", x, self.ffn_dim, bias=self.enable_bias)
        x = f.activation(self.activation_function, x)
        x = f.linear("fc2", x, self.hidden_size, bias=self.enable_bias)
        x = f.dropout(x, self.dropout)
        x = f.add(residual, x)
        return x if self.do_layer_norm_before else self.norm(f, "final_layer_norm", x)

    def norm(self, f: Forward[T], name: str, x: T) -> T:
        """Applies a LayerNorm, which has parameters only if the config.json says so."""
        return f.layer_norm(name, x, affine=self.layer_norm_elementwise_affine)

    def attention(self, f: Forward[T], x: T) -> T:
        heads = self.num_attention_heads
        query = f.times(f.linear("self_attn.q_proj", x, self.hidden_size, bias=self.enable_bias))
        key = f.linear("self_attn.k_proj", x, self.hidden_size, bias=self.enable_bias)
        value = f.linear("self_attn.v_proj", x, self.hidden_size, bias=self.enable_bias)
        x = f.attention(query, key, value, heads=heads, kv_heads=heads, dropout=self.attention_dropout)
        return f.linear("self_attn.out_proj", x, self.hidden_size, bias=self.enable_bias)

    def head(self, f: Forward[T], x: T) -> T:
        if self.do_layer_norm_before:
            x = self.norm(f, "final_layer_norm", x)
        embedding_width = self.word_embed_proj_dim or self.hidden_size
        if embedding_width != self.hidden_size:
            x = f.linear("project_out", x, embedding_width)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = OPT
