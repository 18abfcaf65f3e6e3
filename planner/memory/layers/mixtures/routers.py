"""Implements how routers score experts on symbolic tensors, each as its modeling file in transformers writes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import BOOL, FP32, Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.layers.mixtures import experts
from planner.models.vocabulary.forms import RouterForm


class Routing(NamedTuple):
    """Holds what a model says about its router: the arguments of `planner.models.vocabulary.forward.Forward.route`.

    Attributes:
        num_experts: Number of experts.
        top_k: Number of experts chosen for a token.
        normalizes: Whether a token's scores are divided by their sum.
        casts: Whether the scores are cast from fp32 back to the dtype of the logits.
        limited: Whether experts are chosen from a few groups only.
    """

    num_experts: int
    top_k: int
    normalizes: bool
    casts: bool
    limited: bool


Router = Callable[[Ops, Tensor, Tensor, str, Routing], Tensor]
"""Function that returns the scores of each token's experts from operations, hidden states, the router's weight and
name, and what the model says about it."""


def _softmax(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Returns the largest values of a softmax over all experts."""
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    return experts.route(f, logits, routing.top_k, normalizes=routing.normalizes, casts=routing.casts)


def _softmax_of_chosen(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Returns a softmax over the chosen experts alone, computed in fp32 and cast back."""
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    logits = f.to(logits, FP32, "router logits in fp32")
    chosen = experts.top(f, logits, _chosen(logits, routing))
    return experts.returned(f.to(f.softmax(chosen, FP32), x.itemsize, "router scores"), logits, chosen)


def _logits_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Returns the router's logits from input and weight in fp32.

    Under autocast the product is in autocast's dtype nevertheless.
    """
    with f.tape.module(weight.module):
        x, weight = f.to(x, FP32, f"{name} input in fp32"), f.to(weight, FP32, f"{name} weight in fp32")
        return Ops.linear(f, x, weight, None, routing.num_experts, name)


def _softmax_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Returns the largest values of a softmax over all experts, from fp32 logits, multiplied by a number."""
    logits = _logits_in_fp32(f, x, weight, name, routing)
    scores = f.softmax(logits, FP32)
    if routing.limited:
        scores = _masked(f, scores)
    chosen = experts.top(f, scores, _chosen(logits, routing))
    return experts.returned(f.unary(chosen, "scaled router scores"), logits, chosen)


def _masked(f: Ops, scores: Tensor) -> Tensor:
    """Returns the scores after `masked_fill` of the groups that are not chosen, which saves the mask."""
    as_numbers = f.tape.storage(0, scores.per_sample * FP32, "mask of groups")
    as_booleans = f.tape.storage(0, scores.per_sample * BOOL)
    mask = Tensor(f.tape.storage(0, scores.per_sample * BOOL, "mask of experts"), 0, scores.per_sample, 1, BOOL, None)
    del as_booleans
    out = f.tensor(scores.per_sample, scores.width, scores.itemsize, "router scores of chosen groups", scores)
    del as_numbers
    saved = [f.tape.save(mask)] if scores.variable is not None else []
    return f.differentiate(out, f.own_targets(scores), saved)


def _sigmoid_in_fp32(f: Ops, x: Tensor, weight: Tensor, name: str, routing: Routing) -> Tensor:
    """Returns the sigmoids of the chosen experts' fp32 logits, multiplied by a number."""
    logits = _logits_in_fp32(f, x, weight, name, routing)
    scores = f.unary(logits, "router sigmoid", saves="output")
    _masked_choice = _choice(f, scores)
    chosen = experts.top(f, scores, _chosen(logits, routing))
    weights = experts.normalized(f, chosen) if routing.normalizes else chosen
    return experts.returned(f.unary(weights, "scaled router scores"), logits, chosen)


def _choice(f: Ops, scores: Tensor) -> list[Storage]:
    """Returns the storages of the masks and scores by which experts are chosen; the router's variables keep them.

    They are the mask of the groups as numbers in fp32, its inverse in booleans, and the masked scores in fp32. The
    scores with a bias are made first, and freed here. No gradient comes this way.
    """
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
    """Returns `sigmoid(full(-inf).scatter_(topk(logits)))`, computed in fp32 and cast back.

    There is a score for every expert, `[tokens, experts]` per sample.
    """
    logits = Ops.linear(f, x, weight, None, routing.num_experts, name)
    chosen = experts.top(f, logits, _chosen(logits, routing))
    scattered = f.tensor(logits.per_sample, logits.width, logits.itemsize, "router scores of all experts", chosen)
    scattered = f.differentiate(scattered, f.own_targets(chosen))
    in_fp32 = f.to(scattered, FP32, "router scores in fp32")
    scores = f.to(f.unary(in_fp32, "router sigmoid", saves="output"), logits.itemsize, "router scores")
    scores.beside = (logits.storage,)
    return scores


def _chosen(logits: Tensor, routing: Routing) -> int:
    """Returns the number of chosen experts per sample, `tokens x top_k`."""
    return logits.per_sample // routing.num_experts * routing.top_k


ROUTERS: dict[RouterForm, Router] = {
    "softmax": _softmax,
    "softmax_of_chosen": _softmax_of_chosen,
    "softmax_in_fp32": _softmax_in_fp32,
    "sigmoid_in_fp32": _sigmoid_in_fp32,
    "sigmoid_of_chosen": _sigmoid_of_chosen,
}
"""Function that computes each form of router."""
