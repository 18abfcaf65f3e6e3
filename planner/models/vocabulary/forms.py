"""Names of the forms in which transformers' modeling files write norms, rotations, attention and routers."""

from __future__ import annotations

from typing import Final, Literal

NormOrder = Literal["cast_then_scale", "scale_then_cast", "scale_in_fp32", "unscaled", "t5"]
"""Where an RMSNorm casts back to its input's dtype. `cast_then_scale`: before its weight is applied (Llama);
`scale_then_cast`: after (OLMo 2); `scale_in_fp32`: after, with the weight itself cast to fp32 (Gemma); `unscaled`:
there is no weight (queries and keys of Llama 4); `t5`: the input itself is normalized, then cast to the weight's dtype
before the weight is applied."""

LayerNormForm = Literal["fused", "fused_in_fp32", "one_plus_weight", "written_out"]
"""How a LayerNorm is computed. `fused`: by torch's kernel; `fused_in_fp32`: by the kernel on an fp32 copy of its input,
the result cast back (OLMo); `one_plus_weight`: by the kernel in autocast's dtype, with 1 added to its weight
(Nemotron); `written_out`: operation by operation in fp32, without a bias (Cohere)."""

OwnAttention = Literal["scaled_in_place", "alibi_in_fp32", "alibi_in_product", "alibi_added", "sinks"]
"""Eager attention that a modeling file writes itself. `scaled_in_place`: scores are divided in place (Falcon);
`alibi_in_fp32`: ALiBi is added in fp32 (Falcon); `alibi_in_product`: the product of q and k is added to ALiBi (BLOOM);
`alibi_added`: ALiBi is added in fp32, with a mask of booleans (MPT); `sinks`: each head has a learned sink next to its
scores (gpt-oss)."""

RopeCasts = Literal["none", "result", "both"]
"""Casts around a rotation. `result`: rotated queries and keys are cast back from the table's dtype (OLMo); `both`: they
are cast to fp32 before as well (Cohere)."""

RopeForm = Literal["halves", "repeated", "interleaved", "complex"]
"""How a rotation is written. `halves`: with the second half of a head negated and swapped (Llama); `repeated`: with odd
columns negated and swapped, and cos and sin of half the columns repeated at each call (GPT-J); `interleaved`: on even
and odd columns (DeepSeek-V3); `complex`: as a product of complex numbers in fp32, cast back (DeepSeek-V2, Llama 4)."""

RouterForm = Literal["softmax", "softmax_of_chosen", "softmax_in_fp32", "sigmoid_in_fp32", "sigmoid_of_chosen"]
"""How a router scores experts. `softmax`: over all experts (Mixtral); `softmax_of_chosen`: over the chosen ones
(Granite); `softmax_in_fp32`: over all, from fp32 logits, then multiplied by a number (DeepSeek-V2); `sigmoid_in_fp32`:
sigmoids of fp32 logits, chosen with a bias added (DeepSeek-V3); `sigmoid_of_chosen`: sigmoids, and 0 for all experts
that are not chosen (Llama 4)."""

ROUTED_IN_FP32: Final[tuple[RouterForm, ...]] = ("softmax_in_fp32", "sigmoid_in_fp32")
"""Forms of routers whose weight stays in fp32."""


def biased_expert_shapes(
    router: str, name: str, hidden_size: int, num_experts: int, intermediate_size: int
) -> dict[str, tuple[int, ...]]:
    """Returns the parameters of `Forward.biased_experts` by name, with their shapes.

    Their order is: weight and bias of the router, of gate and up, and of down.
    """
    return {
        f"{router}.weight": (num_experts, hidden_size),
        f"{router}.bias": (num_experts,),
        f"{name}.gate_up_proj": (num_experts, hidden_size, 2 * intermediate_size),
        f"{name}.gate_up_proj_bias": (num_experts, 2 * intermediate_size),
        f"{name}.down_proj": (num_experts, intermediate_size, hidden_size),
        f"{name}.down_proj_bias": (num_experts, hidden_size),
    }
