"""Describes Phi-1.5 and Phi-2.

Source: transformers/models/phi/modeling_phi.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from planner.models.decoder import Decoder, Probability, Share, Size, partial_rotary_factor
from planner.models.vocabulary.forward import Forward, T


class Phi(Decoder):
    """Describes a decoder with attention and MLP in parallel after one LayerNorm, and biases everywhere."""

    intermediate_size: Size
    num_key_value_heads: Size | None = None
    hidden_act: str = "gelu_new"
    resid_pdrop: Probability = 0.0
    embd_pdrop: Probability = 0.0
    attention_dropout: Probability = 0.0
    qk_layernorm: bool = False
    partial_rotary_factor: Share = partial_rotary_factor(0.5)

    @property
    def kv_heads(self) -> int:
        """Returns the number of heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Returns the columns of one head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def rotary_dim(self) -> int:
        """Returns the columns of each head that are rotated."""
        return int(self.head_width * self.partial_rotary_factor)

    def stem(self, f: Forward[T]) -> T:
        x = f.dropout(f.embedding("embed_tokens", self.vocab_size, self.hidden_size), self.embd_pdrop)
        f.rope_table(x, self.rotary_dim)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("input_layernorm", x)
        attention = f.dropout(self.attention(f, x), self.resid_pdrop)
        mlp = f.dropout(self.mlp(f, x), self.resid_pdrop)
        return f.add(f.add(attention, mlp), residual)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, kv_heads, width = self.num_attention_heads, self.kv_heads, self.head_width
        query = f.linear("self_attn.q_proj", x, heads * width, bias=True)
        key = f.linear("self_attn.k_proj", x, kv_heads * width, bias=True)
        value = f.linear("self_attn.v_proj", x, kv_heads * width, bias=True)
        if self.qk_layernorm:
            query = f.layer_norm("self_attn.q_layernorm", query, width=width)
            key = f.layer_norm("self_attn.k_layernorm", key, width=width)
        # Views of the columns that are not rotated keep the projections alive until the method returns.
        rotated = f.rotate(query, head_dim=width, rotary_dim=self.rotary_dim, joins=True)
        rotated_key = f.rotate(key, head_dim=width, rotary_dim=self.rotary_dim, joins=True)
        x = f.attention(rotated, rotated_key, value, heads=heads, kv_heads=kv_heads, dropout=self.attention_dropout)
        return f.linear("self_attn.dense", x, self.hidden_size, bias=True)

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.linear("mlp.fc1", x, self.intermediate_size, bias=True)
        return f.linear("mlp.fc2", f.activation(self.hidden_act, x), self.hidden_size, bias=True)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("final_layernorm", x)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to, bias=True)


Architecture = Phi
