"""Describes SmolLM3.

Source: transformers/models/smollm3/modeling_smollm3.py.
"""

from __future__ import annotations

from collections.abc import Hashable

from pydantic import model_validator

from planner.models.decoder import Size
from planner.models.families.llama import Llama
from planner.models.vocabulary.forward import Forward, T


class SmolLM3(Llama):
    """Extends Llama: some layers have no rotary embedding."""

    num_key_value_heads: Size | None = 4
    tie_word_embeddings: bool = True
    no_rope_layers: tuple[int, ...] | None = None
    """One number per layer, 0 where it has no rotary embedding."""
    no_rope_layer_interval: Size = 4

    @model_validator(mode="after")
    def _one_choice_per_layer(self) -> SmolLM3:
        given = self.no_rope_layers
        if given is not None and len(given) != self.num_hidden_layers:
            raise ValueError(
                f"no_rope_layers has {len(given)} entries, one for each of {self.num_hidden_layers} layers is needed"
            )
        return self

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns whether each layer rotates q and k."""
        if self.no_rope_layers is not None:
            return tuple(bool(rotates) for rotates in self.no_rope_layers)
        return tuple((i + 1) % self.no_rope_layer_interval != 0 for i in range(self.num_hidden_layers))

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.rms_norm("input_layernorm", x)
        x = self.attention(f, x) if kind else self.attend(f, *self.projections(f, x))
        x = f.add(residual, x)
        residual = x
        x = f.rms_norm("post_attention_layernorm", x)
        x = self.mlp(f, x)
        return f.add(residual, x)


Architecture = SmolLM3
