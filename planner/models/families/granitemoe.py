"""Describes Granite 3 with experts.

Source: transformers/models/granitemoe/modeling_granitemoe.py.
"""

from __future__ import annotations

from planner.models.decoder import Size
from planner.models.families.granite import Granite
from planner.models.families.llama import Ignored
from planner.models.vocabulary.forward import Forward, T


class GraniteMoe(Granite):
    """Extends Granite: a mixture of experts takes the place of the MLP.

    PEFT 0.21 does not know the experts (peft/utils/transformers_weight_conversion.py), so adapters are only on
    attention.
    """

    mlp_bias: Ignored = False
    num_local_experts: Size = 8
    num_experts_per_tok: Size = 2

    def mlp(self, f: Forward[T], x: T) -> T:
        experts, top_k = self.num_local_experts, self.num_experts_per_tok
        scores = f.route("block_sparse_moe.router", x, experts, top_k, normalizes=True, form="softmax_of_chosen")
        width = self.intermediate_size
        return f.experts("block_sparse_moe.experts", x, scores, experts, width, self.hidden_act)


Architecture = GraniteMoe
