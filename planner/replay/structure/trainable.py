"""Chooses which parameters of the model itself train, as opposed to PEFT's adapters."""

from __future__ import annotations

from typing import Any

import torch

from planner.replay.structure.stacks import stacks
from strategies import BitFit, Freeze, TrainedModules


def choose(model: Any, method: Freeze | BitFit, dtype: torch.dtype) -> None:
    """Freezes all parameters except those that the method trains.

    Args:
        model: The whole model; it is changed in place.
        method: BitFit trains biases, Freeze the last blocks and the chosen modules.
        dtype: Dtype that the trained parameters are cast to.
    """
    model.requires_grad_(False)
    if isinstance(method, BitFit):
        chosen = [p for name, p in model.named_parameters() if name.rpartition(".")[2] == "bias"]
    else:
        blocks = stacks(model)[-1][1][-method.trained_blocks :]
        modules = [*blocks, *trained_modules(model, method.trained_modules)]
        chosen = [p for module in modules for p in module.parameters()]
    for parameter in chosen:
        parameter.requires_grad_(True)
        parameter.data = parameter.data.to(dtype)


def trained_modules(model: Any, which: TrainedModules) -> list[Any]:
    """Returns the input embedding, the head or both, as chosen to train as whole modules."""
    found = [model.get_input_embeddings()] if which.embeddings else []
    return [*found, model.get_output_embeddings()] if which.head else found


def names_of(model: Any, modules: list[Any]) -> list[str]:
    """Returns the names of modules, without their paths, as PEFT's `modules_to_save` takes them."""
    return [path.rpartition(".")[2] for path, module in model.named_modules() if any(module is m for m in modules)]
