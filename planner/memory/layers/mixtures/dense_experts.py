"""Implements mixtures of experts in which every expert computes every token (Llama 4).

The router gives a score of 0 to the experts that it did not choose.

Source: transformers/models/llama4/modeling_llama4.py, `Llama4TextMoe` and `Llama4TextExperts`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable


def spread(f: Ops, x: Tensor, scores: Tensor) -> Tensor:
    """Returns a copy of every token for each expert, multiplied by that expert's score for the token.

    Args:
        f: Operations on the tape.
        x: Hidden states, `[tokens, hidden]` per sample.
        scores: Router scores, `[tokens, experts]` per sample.

    Returns:
        Inputs of the experts, `[experts, tokens, hidden]` per sample.
    """
    repeated = f.broadcast(x, x.per_sample * scores.width, "tokens of every expert")
    by_expert = f.unary(scores, "router scores by expert")
    by_expert.width = 1
    return f.mul(repeated, by_expert, "expert input")


def experts(
    f: Ops, x: Tensor, gate_up: Tensor, down: Tensor, width: int, activation: Callable[[Tensor], Tensor]
) -> Tensor:
    """Returns the outputs of gated experts, computed by one batched product each for gate and up, and for down.

    A batched product saves and casts what a linear layer does, and is counted as one. DeepSpeed does not replace it.

    Args:
        f: Operations on the tape.
        x: Inputs of the experts, `[experts, tokens, hidden]` per sample.
        gate_up: Weights of gate and up, `[experts, hidden, 2 x width]`.
        down: Weights of down, `[experts, width, hidden]`.
        width: Intermediate size of one expert.
        activation: Function that is applied to the gate.

    Returns:
        Outputs of the experts, `[experts, tokens, hidden]` per sample.
    """
    hidden = x.width
    product = partial(Ops.linear, f, bias=None, written_out=True)
    gate, up = f.slices(
        product(x, gate_up, out_features=2 * width, name="experts.gate_up_proj"), [width] * 2, split=True
    )
    x = f.mul(up, activation(gate), "expert product")
    return product(x, down, out_features=hidden, name="experts.down_proj")


def add_up(f: Ops, x: Tensor, out: Tensor, num_experts: int) -> Tensor:
    """Returns `x.add_(out.sum(0))`, in the storage of `x`.

    The gradient is handed on to `x` itself, and to `out` as a copy for each expert.

    Args:
        f: Operations on the tape.
        x: Hidden states, `[tokens, hidden]` per sample.
        out: Outputs of the experts, `[experts, tokens, hidden]` per sample.
        num_experts: Number of experts.
    """
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
