"""Describes Nemotron-4 and Minitron.

Source: transformers/models/nemotron/modeling_nemotron.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from pydantic import Field

from planner.models.decoder import Share, Size, partial_rotary_factor
from planner.models.families.llama import PartlyRotated
from planner.models.vocabulary.forward import Forward, T


class Nemotron(PartlyRotated):
    """Extends Llama: LayerNorm with 1 + weight in autocast's dtype, squared ReLU, half of each head rotated."""

    num_key_value_heads: Size = Field(...)
    hidden_act: str = "relu2"
    partial_rotary_factor: Share = partial_rotary_factor(0.5)

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.layer_norm("input_layernorm", x, form="one_plus_weight")
        x = self.attention(f, x)
        x = f.add(residual, x)
        residual = x
        x = f.layer_norm("post_attention_layernorm", x, form="one_plus_weight")
        x = self.mlp(f, x)
        return f.add(residual, x)

    def attention(self, f: Forward[T], x: T) -> T:
        query, key, value = self.projections(f, x)
        query = f.rotate(query, head_dim=self.head_width, rotary_dim=self.rotary_dim, joins=True)
        key = f.rotate(key, head_dim=self.head_width, rotary_dim=self.rotary_dim, joins=True)
        return self.attend(f, query, key, value)

    def mlp(self, f: Forward[T], x: T) -> T:
        x = f.activation(self.hidden_act, f.linear("mlp.up_proj", x, self.intermediate_size, bias=self.mlp_bias))
        return f.linear("mlp.down_proj", x, self.hidden_size, bias=self.mlp_bias)

    def head(self, f: Forward[T], x: T) -> T:
        x = f.layer_norm("norm", x, form="one_plus_weight")
        return f.lm_head("lm_head", x, self.vocab_size, tied_to=self.tied_to)


Architecture = Nemotron
