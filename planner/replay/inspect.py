"""What a model is made of, read off its modules on the meta device."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from planner.replay.backend import CUDA_PATH
from planner.replay.setup.build import build, equip, half, linear_layers
from planner.replay.step import undisturbed
from planner.replay.structure.parameter_roles import trained_parameters
from planner.replay.structure.source import Source, tokens_per_sample
from strategies import Strategy

POSITIONS = ("max_position_embeddings", "n_positions")


class Facts(NamedTuple):
    """A model without a strategy."""

    num_parameters: int
    target_names: tuple[str, ...]
    max_positions: int | None
    tokens_per_sample: int | None


class Weight(NamedTuple):
    """A trained parameter of a strategy. `itemsize`: as stored, in bytes."""

    shape: tuple[int, ...]
    itemsize: int
    is_embedding: bool
    is_hidden: bool
    is_linear: bool


class Weights(NamedTuple):
    trained: Counter[Weight]
    gathered_bytes: int
    """Of all parameters, in the dtype of the computation: what FSDP2 gathers."""
    gathered_gradient_bytes: int


def facts_of(source: Source, strategy: Strategy) -> Facts:
    with undisturbed():
        model = _tied(build(source, strategy, CUDA_PATH))
    config = getattr(model, "config", None)
    return Facts(
        sum(p.numel() for p in model.parameters()),
        tuple(dict.fromkeys(path.rpartition(".")[2] for path in linear_layers(model))),
        next((getattr(config, name) for name in POSITIONS if hasattr(config, name)), None),
        tokens_per_sample(model),
    )


def weights_of(source: Source, strategy: Strategy) -> Weights:
    """The whole model as a strategy trains it."""
    with undisturbed():
        model = equip(_tied(build(source, strategy, CUDA_PATH)), strategy)
    mixed = strategy.sharding.shards and strategy.precision.facts.autocast_bytes is not None
    computed = half(strategy.precision).itemsize if mixed else None
    weights: Counter[Weight] = Counter()
    gathered = gradients = 0
    for p in model.parameters():
        size = p.numel() * (computed or p.element_size())
        gathered += size
        gradients += size * p.requires_grad
    for _, p, role in trained_parameters(model):
        weights[Weight(tuple(p.shape), p.element_size(), *role)] += 1
    return Weights(weights, gathered, gradients)


def _tied(model: Any) -> Any:
    if hasattr(model, "tie_weights"):
        model.tie_weights()
    return model
