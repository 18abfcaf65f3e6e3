"""Describes Qwen3-MoE.

Source: transformers/models/qwen3_moe/modeling_qwen3_moe.py.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import ClassVar

from pydantic import AliasChoices, Field

from planner.models.decoder import Size
from planner.models.families.qwen3 import Qwen3
from planner.models.vocabulary.forward import Forward, T

LAYERS = ("gate_proj", "up_proj", "down_proj")
"""Layers of an expert in checkpoints (transformers/conversion_mapping.py, `qwen2_moe`). In most of these families, PEFT
takes their names for the experts (peft/utils/transformers_weight_conversion.py)."""


class Qwen3Moe(Qwen3):
    """Extends Qwen3: a mixture of experts takes the place of the MLP in some or all layers."""

    adapts_experts: ClassVar[bool] = True
    """Whether PEFT adapts the experts where it is asked for layers of their names; it then adapts no layers of these
    names."""

    num_key_value_heads: Size | None = 4
    head_dim: Size | None = None
    num_experts: Size = Field(128, validation_alias=AliasChoices("num_local_experts", "num_experts"))
    num_experts_per_tok: Size = 8
    moe_intermediate_size: Size = 768
    norm_topk_prob: bool = False
    decoder_sparse_step: Size = 1
    mlp_only_layers: tuple[int, ...] | None = ()

    def layer_kinds(self) -> tuple[Hashable, ...]:
        """Returns whether each layer has experts."""
        dense, step = self.mlp_only_layers or (), self.decoder_sparse_step
        return tuple(i not in dense and (i + 1) % step == 0 for i in range(self.num_hidden_layers))

    def block(self, f: Forward[T], x: T, kind: Hashable) -> T:
        residual = x
        x = f.rms_norm("input_layernorm", x, order=self.norm_order)
        x = self.attention(f, x)
        x = f.add(residual, x)
        residual = x
        x = f.rms_norm("post_attention_layernorm", x, order=self.norm_order)
        if kind:
            with f.module("mlp"):
                x = self.mixture(f, x)
        else:
            x = self.gated(f, "mlp", x, self.intermediate_size)
        return f.add(residual, x)

    def mixture(self, f: Forward[T], x: T) -> T:
        """Computes the routed experts."""
        experts, top_k = self.num_experts, self.num_experts_per_tok
        router = "gate" if self.adapts_experts else None
        scores = f.route("mlp.gate", x, experts, top_k, normalizes=self.norm_topk_prob, target=router)
        width = self.moe_intermediate_size
        return f.experts(
            "mlp.experts", x, scores, experts, width, self.hidden_act, layers=LAYERS, adapts=self.adapts_experts
        )

    def gated(self, f: Forward[T], name: str, x: T, width: int) -> T:
        """Computes a gated MLP whose layers' names begin with `name`."""
        adapts = not self.adapts_experts
        gate = f.activation(self.hidden_act, f.linear(f"{name}.gate_proj", x, width, adapts=adapts))
        gated = f.mul(gate, f.linear(f"{name}.up_proj", x, width, adapts=adapts))
        return f.linear(f"{name}.down_proj", gated, self.hidden_size, adapts=adapts)


Architecture = Qwen3Moe
