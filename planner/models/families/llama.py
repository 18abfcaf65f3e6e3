"""Describes Llama 1 to 3.3, TinyLlama, Yi and SmolLM2.

Source: transformers/models/llama/modeling_llama.py.
"""

from collections.abc import Hashable
from typing import Annotated, ClassVar

from pydantic import BeforeValidator

from planner.models.decoder import Decoder, Probability, Share, Size
from planner.models.vocabulary.forms import NormOrder
from planner.models.vocabulary.forward import Forward, T

Ignored = Annotated[bool, BeforeValidator(lambda _: False)]
"""A flag of Llama's that the modeling file of a derived family does not read; it is always False."""


class Llama(Decoder):
    """Describes a decoder with RMSNorm, rotary embedding and a gated MLP.

    Families that differ from it in a few methods extend it.
    """

    norm_order: ClassVar[NormOrder] = "cast_then_scale"
    """Where its RMSNorm casts back to its input's dtype."""

    intermediate_size: Size
    num_key_value_heads: Size | None = None
    head_dim: Size | None = None
    hidden_act: str = "silu"
    attention_bias: bool = False
    attention_dropout: Probability = 0.0
    mlp_bias: bool = False

    @property
    def kv_heads(self) -> int:
        """Returns the number of heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def head_width(self) -> int:
        """Returns the columns of one head."""
        return self.head_dim or self.hidden_size // self.num_attention_heads

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.head_width)
        return x

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.rms_norm("input_layernorm", x, order=self.norm_order)
        x = self.attention(f, x)
        x = f.add(residual, self.branch(f, x))
        residual = x
        x = f.rms_norm("post_attention_layernorm", x, order=self.norm_order)
        x = self.mlp(f, x)
        return f.add(residual, self.branch(f, x))

    def branch(self, f: Forward[T], x: T) -> T:
        """Returns what is added to the residual stream, given the output of attention or of the MLP."""
        return x

    def attention(self, f: Forward[T], x: T) -> T:
        """Computes the attention sublayer, from its normalized input to the output projection."""
        query, key, value = self.projections(f, x)
        query, key = f.rotate(query, head_dim=self.head_width), f.rotate(key, head_dim=self.head_width)
        return self.attend(f, query, key, value)

    def projections(self, f: Forward[T], x: T) -> tuple[T, T, T]:
        """Projects hidden states to queries, keys and values."""
        query = f.linear("self_attn.q_proj", x, self.num_attention_heads * self.head_width, bias=self.attention_bias)
        key = f.linear("self_attn.k_proj", x, self.kv_heads * self.head_width, bias=self.attention_bias)
        value = f.linear("self_attn.v_proj", x, self.kv_heads * self.head_width, bias=self.attention_bias)
        return query, key, value

    def attend(self, f: Forward[T], query: T, key: T, value: T) -> T:
        """Computes attention and projects its output, given rotated queries and keys."""
        heads, kv_heads = self.num_attention_heads, self.kv_heads
        dropout, window = self.attention_dropout, self.window
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout, window=window)
        return f.linear("self_attn.o_proj", x, self.hidden_size, bias=self.attention_bias)

    def mlp(self, f: Forward[T], x: T) -> T:
        """Computes the gated MLP, from its normalized input to the output projection."""
        gated = f.mul(
            f.activation(self.hidden_act, f.linear("mlp.gate_proj", x, self.intermediate_size, bias=self.mlp_bias)),
            f.linear("mlp.up_proj", x, self.intermediate_size, bias=self.mlp_bias),
        )
        return f.linear("mlp.down_proj", gated, self.hidden_size, bias=self.mlp_bias)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.rms_norm("norm", x, order=self.norm_order)
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


class PartlyRotated(Llama):
    """Extends Llama: only a share of each head is rotated, `partial_rotary_factor`."""

    partial_rotary_factor: Share

    @property
    def rotary_dim(self) -> int:
        """Returns the columns of each head that are rotated."""
        return int(self.head_width * self.partial_rotary_factor)

    def stem(self, f: Forward[T]) -> T:
        x = f.embedding("embed_tokens", self.vocab_size, self.hidden_size)
        f.rope_table(x, self.rotary_dim)
        return x


Architecture = Llama
