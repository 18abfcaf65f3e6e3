"""Implements gpt-oss's mixture of experts: the grouped product, with biases in router and experts.

Source: transformers/models/gpt_oss/modeling_gpt_oss.py (GptOssTopKRouter, GptOssExperts._apply_gate) and
transformers/integrations/moe.py (`grouped_mm_experts_forward`, the default).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.autograd.in_place import add_, clamp
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Tensor
from planner.memory.layers.mixtures.experts import gather, grouped, indices_of, summed, top


def biased_experts(
    f: Ops, x: Tensor, weights: Sequence[Tensor], num_experts: int, top_k: int, intermediate_size: int
) -> Tensor:
    """Returns the weighted sum of the outputs of each token's experts, in the dtype of `x`.

    The router's softmax is over the chosen experts alone.

    Args:
        f: Operations on the tape.
        x: Hidden states, `[tokens, hidden]` per sample.
        weights: Weight and bias of the router, of gate and up, and of down, in this order.
        num_experts: Number of experts.
        top_k: Number of experts per token.
        intermediate_size: Intermediate size of one expert.
    """
    router, router_bias, gate_up, gate_up_bias, down, down_bias = weights
    with f.tape.module(router.module):
        logits = Ops.linear(f, x, router, router_bias, num_experts, "router")
        chosen = top(f, logits, logits.per_sample // num_experts * top_k)
        scores = f.softmax(chosen, chosen.itemsize)
    del chosen
    with f.tape.module(gate_up.module):
        given, pairs, hidden = x.itemsize, scores.per_sample, x.width
        ids, order = indices_of(f, pairs, "sorted experts"), indices_of(f, pairs, "order by expert")
        selected = gather(f, x, pairs * hidden, indices_of(f, pairs, "tokens by expert"), "expert input")
        share = gather(f, scores, pairs, order, "router scores by expert")
        bias = _bias(f, gate_up_bias, ids, 2 * intermediate_size, pairs, "gate and up")
        out = grouped(f, selected, gate_up, 2 * intermediate_size, "experts.gate_up_proj", transposes=False)
        out = add_(f, out, bias)
        out = _gated(f, out, intermediate_size)
        bias = _bias(f, down_bias, ids, hidden, pairs, "down")
        projected = add_(f, grouped(f, out, down, hidden, "experts.down_proj", transposes=False), bias)
        del out
        weighted = f.mul(projected, share, "weighted expert output")
        back = indices_of(f, pairs, "order by token")
        weighted = gather(f, weighted, pairs * hidden, back, "weighted expert output by token")
        return f.to(summed(f, weighted, x.per_sample), given, "expert output")


def _bias(f: Ops, bias: Tensor, ids: Tensor, width: int, pairs: int, name: str) -> Tensor:
    """Returns the bias of each pair's expert, `[tokens x top_k, width]` per sample."""
    rows = Tensor(bias.storage, bias.fixed, 0, width, bias.itemsize, bias.variable)
    return gather(f, rows, pairs * width, ids, f"expert bias of {name}")


def _gated(f: Ops, out: Tensor, width: int) -> Tensor:
    """Returns `(up + 1) * gate * sigmoid(gate * alpha)` of the clamped gate and up, whose columns alternate."""
    gate, up = f.slices(out, [width, width])
    gate = clamp(f, gate, "clamped gate", below=False)
    up = clamp(f, up, "clamped up")
    glu = f.mul(gate, f.unary(f.unary(gate, "scaled gate"), "gate sigmoid", saves="output"), "gated")
    return f.mul(f.unary(up, "one plus up"), glu, "expert product")
