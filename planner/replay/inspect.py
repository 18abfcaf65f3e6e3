"""Reads from a model's modules, on the meta device, what the model is made of."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any, NamedTuple

from planner.replay.backend import CUDA_PATH
from planner.replay.extension.blocks import BlockRun, home_of, repeats_of, scopes_of
from planner.replay.recording.trace import Scope
from planner.replay.setup.build import build, half, linear_layers, refused_layers
from planner.replay.shortcuts import shortcuts
from planner.replay.silence import YOUNG, undisturbed
from planner.replay.stand_ins.packages import FUSED
from planner.replay.structure.inputs import has_target, tokens_per_sample
from planner.replay.structure.parameter_roles import trained_parameters
from planner.replay.structure.source import Source
from strategies import ShardingBackend, Strategy

POSITIONS = ("max_position_embeddings", "n_positions")
"""Fields of a config.json that limit the length of a sequence, in the order in which they are looked up."""


class Facts(NamedTuple):
    """Holds what is known of a model whatever it is trained with."""

    num_parameters: int
    """Number of elements of all parameters; tied weights count once."""
    target_names: tuple[str, ...]
    """Names, without their paths, of the linear layers that LoRA can adapt."""
    max_positions: int | None
    """Largest number of positions that the configuration allows; None if it does not say."""
    tokens_per_sample: int | None
    """Tokens that an image becomes; None if the user chooses the length of a sequence."""
    unadapted: tuple[str, ...]
    """Names, likewise, of those that PEFT refuses to adapt."""
    supports_flash: bool
    """Whether transformers runs it with flash-attn."""
    model_type: str | None
    """`model_type` of its configuration; None for a model of the user's own code."""
    packages: tuple[str, ...]
    """Distributions whose kernels are planned, which transformers does without where they are not installed."""
    is_encoder_decoder: bool
    """Whether a sample is a source and a target, which can have a length of its own."""


class Weight(NamedTuple):
    """Describes a trained parameter; equal parameters have equal descriptions."""

    shape: tuple[int, ...]
    itemsize: int
    """Bytes per element of the stored parameter."""
    is_embedding: bool
    """Whether it is the weight of an embedding."""
    is_hidden: bool
    """Whether it is a matrix in a block."""
    is_linear: bool
    """Whether it is the weight of a `torch.nn.Linear` in a block, and no adapter."""


class Weights(NamedTuple):
    """Holds the parameters of a model as a strategy trains it."""

    trained: Counter[Weight]
    """The trained parameters, and how many of them are equal."""
    gathered_bytes: int
    """Bytes of all parameters in the dtype of the computation, which is what FSDP2 gathers."""
    gathered_gradient_bytes: int
    """Bytes of the trained parameters in the dtype of the computation, which is that of their unsharded gradients."""


def facts_of(source: Source, strategy: Strategy) -> Facts:
    """Builds a model on the meta device and returns what it is.

    Args:
        source: The model, as for `planner.replay.replay`.
        strategy: Any strategy that the model can be built for; the facts do not depend on it.
    """
    with undisturbed(YOUNG), shortcuts():  # PEFT, which is asked for refused layers, imports bitsandbytes
        model = _tied(build(source, strategy, CUDA_PATH))
        config = getattr(model, "config", None)
        return Facts(
            sum(p.numel() for p in model.parameters()),
            tuple(dict.fromkeys(path.rpartition(".")[2] for path in linear_layers(model))),
            next((getattr(config, name) for name in POSITIONS if hasattr(config, name)), None),
            tokens_per_sample(model),
            tuple(dict.fromkeys(path.rpartition(".")[2] for path in refused_layers(model))),
            bool(getattr(model, "_supports_flash_attn", False)),
            getattr(config, "model_type", None),
            tuple(found.package for found in FUSED if found.modules_of(model)),
            has_target(model),
        )


def weights_of(model: Any, runs: list[BlockRun], strategy: Strategy) -> Weights:
    """Returns the parameters of a model as a strategy trains it.

    Args:
        model: The equipped model, which may be shortened.
        runs: Its runs of blocks, as `shorten` returns them.
        strategy: The strategy to train it with.
    """
    scopes = scopes_of(model, runs)
    homes: dict[int, set[Scope | None]] = defaultdict(set)
    for name, p in model.named_parameters(remove_duplicate=False):
        homes[id(p)].add(home_of(name, scopes))
    # What several blocks share is one parameter.
    repeats = {key: repeats_of(next(iter(found)), runs) if len(found) == 1 else 1 for key, found in homes.items()}
    mixed = strategy.sharding.backend is ShardingBackend.FSDP2 and strategy.precision.facts.autocast_bytes is not None
    computed = half(strategy.precision).itemsize if mixed else None
    weights: Counter[Weight] = Counter()
    gathered = gradients = 0
    for p in model.parameters():
        size = p.numel() * (computed or p.element_size()) * repeats[id(p)]
        gathered += size
        gradients += size * p.requires_grad
    for _, p, role in trained_parameters(model):
        weights[Weight(tuple(p.shape), p.element_size(), *role)] += repeats[id(p)]
    return Weights(weights, gathered, gradients)


def _tied(model: Any) -> Any:
    """Ties the weights of a model of transformers, but for a head that `build` has untied, and returns the model."""
    from transformers import PreTrainedModel

    if isinstance(model, PreTrainedModel):
        model.tie_weights(recompute_mapping=False)
    elif hasattr(model, "tie_weights"):
        model.tie_weights()
    return model
