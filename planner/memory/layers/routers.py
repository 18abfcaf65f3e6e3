"""How routers score experts, each as its modeling file in transformers writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.layers import experts
from planner.models.forward import RouterForm


class Routing(NamedTuple):
    """What a model says about its router: the arguments of `planner.models.forward.Forward.route`."""

    num_experts: int
    top_k: int
    normalizes: bool
    casts: bool
    limited: bool


Router = Callable[[Ops, Tensor, Tensor, str, Routing], Tensor]


def _softmax(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    return experts.route(f, logits, routing.top_k, normalizes=routing.normalizes, casts=routing.casts)


def _softmax_of_chosen(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    logits = f.to(logits, FP32, "router logits in fp32")
    chosen = experts.top(f, logits, _chosen(logits, routing))
    return experts.returned(f.to(f.softmax(chosen, FP32), x.itemsize, "router scores"), logits, chosen)


def _logits_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Autocast has the product in its own dtype nevertheless."""
    x, weight = f.to(x, FP32, f"{name} input in fp32"), f.to(weight, FP32, f"{name} weight in fp32")
    return Ops.linear(f, x, weight, None, routing.num_experts, name)


def _softmax_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    logits = _logits_in_fp32(f, x, weight, name, routing)
    scores = f.softmax(logits, FP32)
    if routing.limited:
        scores = _masked(f, scores)
    chosen = experts.top(f, scores, _chosen(logits, routing))
    return experts.returned(f.unary(chosen, "scaled router scores"), logits, chosen)


def _masked(f: Ops, scores: Tensor) -> Tensor:
    """`masked_fill` of the groups that are not chosen: keeps the mask."""
    as_numbers = f.tape.storage(0, scores.per_sample * FP32, "mask of groups")
    as_booleans = f.tape.storage(0, scores.per_sample * BOOL)
    mask = Tensor(f.tape.storage(0, scores.per_sample * BOOL, "mask of experts"), 0, scores.per_sample, 1, BOOL, None)
    del as_booleans
    out = f.tensor(scores.per_sample, scores.width, scores.itemsize, "router scores of chosen groups", scores)
    del as_numbers
    saved = [f.tape.save(mask)] if scores.variable is not None else []
    return f.differentiate(out, f.own_targets(scores), saved)


def _sigmoid_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    logits = _logits_in_fp32(f, x, weight, name, routing)
    scores = f.unary(logits, "router sigmoid", saves="output")
    _masked_choice = _choice(f, scores)
    chosen = experts.top(f, scores, _chosen(logits, routing))
    weights = experts.normalized(f, chosen) if routing.normalizes else chosen
    return experts.returned(f.unary(weights, "scaled router scores"), logits, chosen)


def _choice(f: Ops, scores: Tensor) -> list[Storage]:
    """What experts are chosen by, in fp32: scores with a bias, which the graph of the masked ones keeps; the mask of
    the groups as numbers, and its inverse. No gradient comes this way."""
    elements = scores.per_sample
    biased = f.tape.storage(0, elements * FP32, "biased router scores")
    as_numbers = f.tape.storage(0, elements * FP32, "mask of groups")
    as_booleans = f.tape.storage(0, elements * BOOL)
    mask = f.tape.storage(0, elements * BOOL, "mask of experts")
    del as_booleans
    masked = f.tape.storage(0, elements * FP32, "masked router scores")
    del biased
    return [as_numbers, mask, masked]


def _sigmoid_of_chosen(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """`sigmoid(full(-inf).scatter_(topk(logits)))` in fp32 and cast back: a score for every expert."""
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    chosen = experts.top(f, logits, _chosen(logits, routing))
    scattered = f.tensor(logits.per_sample, logits.width, logits.itemsize, "router scores of all experts", chosen)
    scattered = f.differentiate(scattered, f.own_targets(chosen))
    in_fp32 = f.to(scattered, FP32, "router scores in fp32")
    scores = f.to(f.unary(in_fp32, "router sigmoid", saves="output"), logits.itemsize, "router scores")
    scores.beside = (logits.storage,)
    return scores


def _chosen(logits: Tensor, routing: Routing) -> int:
    return logits.per_sample // routing.num_experts * routing.top_k


ROUTERS: dict[RouterForm, Router] = {
    "softmax": _softmax,
    "softmax_of_chosen": _softmax_of_chosen,
    "softmax_in_fp32": _softmax_in_fp32,
    "sigmoid_in_fp32": _sigmoid_in_fp32,
    "sigmoid_of_chosen": _sigmoid_of_chosen,
}
