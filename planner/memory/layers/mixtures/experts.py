"""Implements mixtures of experts as transformers' default runs them: one grouped product for all experts.

There is one row for each pair of a token and an expert chosen for it. Rows are sorted by expert, multiplied, weighted
by the router's scores, put back into token order and summed (transformers/integrations/moe.py,
`grouped_mm_experts_forward`). No shape depends on the routing, so it does not have to be even.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import FP32, SECOND, Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.models.architecture import INT64


class Weights(NamedTuple):
    """Holds the weights of all experts, each made when it is asked for, as a weight with an adapter is.

    Attributes:
        gate_up: Makes the weights of gate and up, `[experts, 2 x intermediate, hidden]`.
        down: Makes the weights of down, `[experts, hidden, intermediate]`.
        intermediate: Intermediate size of one expert.
    """

    gate_up: Callable[[], Tensor]
    down: Callable[[], Tensor]
    intermediate: int


def route(f: Ops, logits: Tensor, top_k: int, *, normalizes: bool, casts: bool) -> Tensor:
    """Returns each token's `top_k` largest values of a softmax over all experts, which runs in fp32.

    Args:
        f: Operations on the tape.
        logits: Router logits, `[tokens, experts]` per sample.
        top_k: Number of experts per token.
        normalizes: Whether a token's scores are divided by their sum.
        casts: Whether the scores are cast back to the dtype of the logits.

    Returns:
        Router scores, `[tokens, top_k]` per sample.
    """
    given, tokens = logits.itemsize, logits.per_sample // logits.width
    chosen = top(f, f.softmax(logits, FP32), tokens * top_k)
    scores = normalized(f, chosen) if normalizes else chosen
    scores = f.to(scores, given, "router scores") if casts else scores
    return returned(scores, logits, chosen)


def returned(scores: Tensor, logits: Tensor, chosen: Tensor) -> Tensor:
    """Returns the scores, which keep alive the logits and the chosen experts that a router returns as well."""
    scores.beside = (logits.storage, *chosen.beside)
    return scores


def normalized(f: Ops, scores: Tensor) -> Tensor:
    """Returns the scores divided in place by each token's sum; a copy from before the division is saved."""
    tokens = scores.per_sample // scores.width
    before = f.tensor(scores.per_sample, scores.width, scores.itemsize, "router scores before division", scores)
    total = f.tensor(tokens, 1, scores.itemsize, "sum of router scores", scores)
    divided = Tensor(scores.storage, 0, scores.per_sample, scores.width, scores.itemsize, before.variable)
    saved = [f.tape.save(before), f.tape.save(total)] if scores.variable is not None else []
    return f.differentiate(divided, f.own_targets(scores), saved, temporaries=1)


def top(f: Ops, x: Tensor, elements: int) -> Tensor:
    """Returns the largest values of each row (`topk`), and saves the indices that backward scatters to.

    Args:
        f: Operations on the tape.
        x: Values to choose from.
        elements: Number of values per sample to choose, over all rows.
    """
    out = f.tensor(elements, elements * x.width // x.per_sample, x.itemsize, "router scores", x)
    indices = indices_of(f, elements, "chosen experts")
    saved = [f.tape.save(indices)] if x.variable is not None else []
    out.beside = (indices.storage,)
    return f.differentiate(out, f.own_targets(x), saved)


def experts(f: Ops, x: Tensor, scores: Tensor, weights: Weights, activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns the weighted sum of the outputs of each token's experts, in the dtype of `x`.

    Autocast does not know the grouped product, which therefore runs in the weights' dtype.

    Args:
        f: Operations on the tape.
        x: Hidden states, `[tokens, hidden]` per sample.
        scores: Router scores, `[tokens, top_k]` per sample.
        weights: Weights of all experts.
        activation: Function that is applied to the gate.
    """
    given, pairs, hidden = x.itemsize, scores.per_sample, x.width
    ids, order = indices_of(f, pairs, "sorted experts"), indices_of(f, pairs, "order by expert")
    chosen = gather(f, x, pairs * hidden, indices_of(f, pairs, "tokens by expert"), "expert input")
    share = gather(f, scores, pairs, order, "router scores by expert")
    # Weights with an adapter folded in stay until the experts are done (torch.nn.utils.parametrize.cached).
    gate_up = weights.gate_up()
    out = grouped(f, chosen, gate_up, 2 * weights.intermediate, "experts.gate_up_proj")
    gate, up = f.slices(out, [weights.intermediate] * 2, split=True)
    del out
    out = f.mul(activation(gate), up, "expert product")
    del gate, up
    down = weights.down()
    projected = grouped(f, out, down, hidden, "experts.down_proj")
    del out
    out = f.mul(projected, share, "weighted expert output")
    back = indices_of(f, pairs, "order by token")
    out = gather(f, out, pairs * hidden, back, "weighted expert output by token")
    total = summed(f, out, x.per_sample)
    del ids, gate_up, down, projected
    return f.to(total, given, "expert output")


def factors(f: Ops, up: Tensor, down: Tensor, itemsize: int, name: str) -> tuple[Tensor, Tensor]:
    """Returns an adapter's factors B and A in the weight's dtype.

    They exist from when PEFT's wrapper is entered until it is left.

    Args:
        f: Operations on the tape.
        up: Factor B.
        down: Factor A.
        itemsize: Bytes per element of the weight.
        name: Name of the weight.
    """
    return f.to(up, itemsize, f"{name} lora_B"), f.to(down, itemsize, f"{name} lora_A")


def fold(f: Ops, weight: Tensor, factors: tuple[Tensor, Tensor], name: str, *, stacked: bool = True) -> Tensor:
    """Returns `weight + B @ A * scaling`, which is made anew in the weight's dtype in every forward.

    PEFT's ParamWrapper computes it by `baddbmm`, outside autocast. Each factor is saved for the other's gradient, as a
    view by expert where experts are stacked (`get_delta_factors`). Its FLOPs are not counted.
    """
    storage = f.tape.storage(weight.fixed * weight.itemsize, 0, f"{name} with adapter")
    out = Tensor(storage, weight.fixed, 0, weight.width, weight.itemsize, Variable())
    folded = f.differentiate(out, f.own_targets(*factors), [f.tape.save(factor) for factor in factors])
    if stacked and f.tape.keep_saved:
        f.tape.view(*(factor.name for factor in factors))
    return folded


def gather(f: Ops, x: Tensor, elements: int, indices: Tensor, name: str) -> Tensor:
    """Returns `x[indices]`, which saves the indices; the gradient is added into zeros of the shape of `x`.

    Args:
        f: Operations on the tape.
        x: Tensor to take rows from.
        elements: Elements of the result per sample.
        indices: int64 indices of the rows.
        name: Name of the result.
    """
    saved = [f.tape.save(indices)] if x.variable is not None else []
    out = f.tensor(elements, x.width, x.itemsize, name, x)
    return f.differentiate(out, f.own_targets(x), saved)


def grouped(f: Ops, x: Tensor, weight: Tensor, out_features: int, name: str, *, transposes: bool = True) -> Tensor:
    """Returns `grouped_mm` of rows sorted by expert, in the dtype of the weights.

    It saves `x` for the weights' gradient and the weights for the gradient of `x`.

    Args:
        f: Operations on the tape.
        x: Rows sorted by expert, `[tokens x top_k, in_features]` per sample.
        weight: Weights of all experts.
        out_features: Columns of the result.
        name: Name of the weight.
        transposes: Whether the product is with transposed views of the weights, which are what is saved.
    """
    x = f.to(x, weight.itemsize, f"{name} input")
    rows = x.per_sample // x.width
    saved = [f.tape.save(x)] if weight.variable is not None else []
    if x.variable is not None:
        saved.append(f.tape.save(weight))
    flops = 2 * x.per_sample * out_features
    out = f.product(rows * out_features, out_features, x.itemsize, f"{name} output", x, weight, flops=flops)
    needed = (x.variable is not None) + (weight.variable is not None)
    differentiated = f.differentiate(out, f.own_targets(x, weight), saved, flops=flops * needed, begins=SECOND)
    if transposes and x.variable is not None and f.tape.keep_saved:
        f.tape.view(weight.name)
    return differentiated


def summed(f: Ops, x: Tensor, elements: int) -> Tensor:
    """Returns the sum of each token's rows over its experts.

    The gradient is expanded to all pairs, and copied where their shape is restored.

    Args:
        f: Operations on the tape.
        x: Rows of all pairs of a token and an expert.
        elements: Elements of the result per sample.
    """
    out = f.tensor(elements, x.width, x.itemsize, "summed expert output", x)
    if out.variable is not None and x.variable is not None:
        variable, size = x.variable, x.per_sample * x.itemsize

        def backward(gradient: Storage) -> None:
            f.tape.accumulate(variable, f.tape.storage(0, size))

        f.tape.record(out.variable, backward)
    return out


def indices_of(f: Ops, elements: int, name: str) -> Tensor:
    """Returns int64 indices, `elements` of them per sample."""
    return Tensor(f.tape.storage(0, elements * INT64, name), 0, elements, 1, INT64, None)
