"""Describes Phi-3, Phi-3.5 and Phi-4.

Source: transformers/models/phi3/modeling_phi3.py.
"""

from __future__ import annotations

from typing import ClassVar

from planner.models.decoder import Probability, Share, Size, partial_rotary_factor
from planner.models.families.llama import Llama
from planner.models.vocabulary.forward import Forward, T


class Phi3(Llama):
    """Extends Llama: q, k and v are one projection, and so are gate and up."""

    first_linear: ClassVar[str] = "self_attn.o_proj"

    sliding_window: Size | None = None
    resid_pdrop: Probability = 0.0
    partial_rotary_factor: Share = partial_rotary_factor(1.0)

    def branch(self, f: Forward[T], x: T) -> T:
        return f.dropout(x, self.resid_pdrop)

    def attention(self, f: Forward[T], x: T) -> T:
        heads, kv_heads, width = self.num_attention_heads, self.kv_heads, self.head_width
        fused = f.linear("self_attn.qkv_proj", x, (heads + 2 * kv_heads) * width)
        query, key, value = f.slices(fused, [heads * width, kv_heads * width, kv_heads * width])
        rotary = int(width * self.partial_rotary_factor)
        query = f.rotate(query, head_dim=width, rotary_dim=rotary, joins=True)
        key = f.rotate(key, head_dim=width, rotary_dim=rotary, joins=True)
        dropout, window = self.attention_dropout, self.window
        x = f.attention(query, key, value, heads=heads, kv_heads=kv_heads, dropout=dropout, window=window)
        return f.linear("self_attn.o_proj", x, self.hidden_size)

    def mlp(self, f: Forward[T], x: T) -> T:
        up = f.linear("mlp.gate_up_proj", x, 2 * self.intermediate_size)
        gate, up = f.slices(up, [self.intermediate_size, self.intermediate_size], split=True)
        up = f.mul(up, f.activation(self.hidden_act, gate))
        return f.linear("mlp.down_proj", up, self.hidden_size)


Architecture = Phi3
