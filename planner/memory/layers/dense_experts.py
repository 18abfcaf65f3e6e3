"""Mixtures in which every expert computes every token: what a router gives those that it did not choose is 0.

Source: transformers/models/llama4/modeling_llama4.py, `Llama4TextMoe` and `Llama4TextExperts`.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable


def spread(f: Ops, x: Tensor, scores: Tensor) -> Tensor:
    """All tokens once for each expert, times their scores."""
    repeated = f.broadcast(x, x.per_sample * scores.width, "tokens of every expert")
    by_expert = f.unary(scores, "router scores by expert")
    by_expert.width = 1
    return f.mul(repeated, by_expert, "expert input")


def experts(
    f: Ops, x: Tensor, gate_up: Tensor, down: Tensor, width: int, activation: Callable[[Tensor], Tensor]
) -> Tensor:
    """Batched products, one for each expert, of as many tokens; a batched product saves and casts what a linear layer
    does."""
    hidden = x.width
    gate, up = f.slices(Ops.linear(f, x, gate_up, None, 2 * width, "experts.gate_up_proj"), [width] * 2, split=True)
    return Ops.linear(f, f.mul(up, activation(gate), "expert product"), down, None, hidden, "experts.down_proj")


def add_up(f: Ops, x: Tensor, out: Tensor, num_experts: int) -> Tensor:
    """`x.add_(out.sum(0))`: hands its gradient on to x, and repeated to every expert."""
    total = f.tensor(out.per_sample // num_experts, out.width, out.itemsize, "summed expert output", out)
    summed = Tensor(x.storage, x.fixed, x.per_sample, x.width, x.itemsize, None)
    if x.variable is None and out.variable is None:
        return summed
    summed.variable, size = Variable(), out.per_sample * out.itemsize
    to_x, to_out = x.variable, out.variable
    del total

    def backward(gradient: Storage) -> None:
        if to_x is not None:
            f.tape.accumulate(to_x, gradient)
        if to_out is not None:
            f.tape.cost.bytes_per_sample += size
            f.tape.accumulate(to_out, f.tape.storage(0, size))

    f.tape.record(summed.variable, backward)
    return summed
