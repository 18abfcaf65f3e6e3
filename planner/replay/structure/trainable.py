"""Chooses which parameters of the model itself train, as opposed to PEFT's adapters."""

from __future__ import annotations

from typing import Any

import torch

from planner.replay.structure.stacks import stacks
from strategies import BitFit, Freeze, Task, TrainedModules

SEQ_CLS_HEAD_NAMES = ("score", "classifier")
"""Names of heads as PEFT looks for them."""


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
    return [*found, *_heads(model)] if which.head else found


def _heads(model: Any) -> list[Any]:
    """Returns the output embeddings, or for a model without any the head of a classifier; empty if it has neither."""
    found = model.get_output_embeddings()
    return [module for module in (found if found is not None else classifier(model),) if module is not None]


def classifier(model: Any) -> Any:
    """Returns the head of a classifier, by the names that PEFT knows (peft/utils/constants.py); None if it has none."""
    return next((getattr(model, name) for name in SEQ_CLS_HEAD_NAMES if hasattr(model, name)), None)


def modules_to_save(model: Any, which: TrainedModules) -> list[str]:
    """Returns PEFT's `modules_to_save` of a model that gets adapters: what is chosen, and the head of a classifier.

    PEFT adds the names of heads itself by the `task_type`. For tokens it does so too late: "all-linear" would adapt the
    head first, and no copy can be made of that (peft/peft_model.py, `PeftModelForTokenClassification`).
    """
    heads = _heads(model) if task_type_of(model) is not None else []
    return names_of(model, [*trained_modules(model, which), *heads])


def task_type_of(model: Any) -> str | None:
    """Returns the `task_type` by which PEFT trains a model's head beside adapters; None if it trains none."""
    task = Task.of_class(type(model).__name__)
    return task.facts.peft if task is not None else None


def names_of(model: Any, modules: list[Any]) -> list[str]:
    """Returns the names of modules, without their paths, as PEFT's `modules_to_save` takes them."""
    return [path.rpartition(".")[2] for path, module in model.named_modules() if any(module is m for m in modules)]
