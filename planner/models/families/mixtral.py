"""Describes Mixtral.

Source: transformers/models/mixtral/modeling_mixtral.py.
"""

from __future__ import annotations

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.mistral import Mistral
from planner.models.vocabulary.forward import Forward, T


class Mixtral(Mistral):
    """Extends Mistral: a mixture of experts takes the place of the MLP."""

    sliding_window: Size | None = None
    num_local_experts: Size = Field(8, validation_alias=AliasChoices("num_local_experts", "num_experts"))
    num_experts_per_tok: Size = 2

    def mlp(self, f: Forward[T], x: T) -> T:
        experts, top_k = self.num_local_experts, self.num_experts_per_tok
        layers = ("w1", "w3", "w2")
        with f.module("mlp"):
            scores = f.route("mlp.gate", x, experts, top_k, normalizes=True, casts=False, target="gate")
            return f.experts("mlp.experts", x, scores, experts, self.intermediate_size, self.hidden_act, layers=layers)


Architecture = Mixtral
