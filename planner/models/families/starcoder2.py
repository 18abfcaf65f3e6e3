"""Describes StarCoder2.

Source: transformers/models/starcoder2/modeling_starcoder2.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from planner.models.decoder import Decoder, Probability, Size
from planner.models.vocabulary.forward import Forward, T


class Starcoder2(Decoder):
    """Describes a decoder with LayerNorm, biases, grouped queries, an MLP without gate, and dropout."""

    intermediate_size: Size
    num_key_value_heads: Size
    hidden_act: str = "gelu_pytorch_tanh"
    sliding_window: Size | None = None
    use_bias: bool = True
    attention_dropout: Probability = 0.0
    residual_dropout: Probability = 0.0
    embedding_dropout: Probability = 0.0
    tie_word_embeddings: bool = True

    def stem(self, f: Forward[T]) -> T:
        x = f.dropout(f.embedding("embed_tokens", self.vocab_size, self.hidden_size), self.embedding_dropout)
        f.rope_table(x, self.hidden_size // self.num_attention_heads)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("input_layernorm", x)
        x = self.attention(f, x)
        x = f.add(residual, x)
        residual = x
        x = f.layer_norm("post_attention_layernorm", x)
        x = f.linear("mlp.c_fc", x, self.intermediate_size, bias=self.use_bias)
        x = f.activation(self.hidden_act, x)
        x = f.linear("mlp.c_proj", x, self.hidden_size, bias=self.use_bias)
        return f.add(residual, f.dropout(x, self.residual_dropout))

    def attention(self, f: Forward[T], x: T) -> T:
        heads, kv_heads, width = self.num_attention_heads, self.num_key_value_heads, self.hidden_size
        head_dim = width // heads
        query = f.linear("self_attn.q_proj", x, width, bias=self.use_bias)
        key = f.linear("self_attn.k_proj", x, kv_heads * head_dim, bias=self.use_bias)
        value = f.linear("self_attn.v_proj", x, kv_heads * head_dim, bias=self.use_bias)
        query, key = f.rotate(query, head_dim=head_dim), f.rotate(key, head_dim=head_dim)
        dropout, window = self.attention_dropout, self.window
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout, window=window)
        return f.dropout(f.linear("self_attn.o_proj", x, width, bias=self.use_bias), self.residual_dropout)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("norm", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = Starcoder2
