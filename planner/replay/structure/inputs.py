"""Finds the inputs of a forward pass and the loss in its result, of a model of transformers or a user's own module."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from planner.replay.structure.model_code import ModelCodeError, blamed, module_name, module_of
from planner.replay.structure.source import Source, base_of
from strategies import Task

Lengths = tuple[int, int | None]
"""Tokens per sample of the sequence that a model reads, and of the one that an encoder-decoder predicts: None for as
many."""

EXAMPLE_INPUTS = "example_inputs"
"""Name of the function in a user's module that makes the inputs: (micro_batch_size, sequence_length) -> arguments."""


def inputs_of(model: Any, source: Source, micro_batch_size: int, lengths: Lengths, device: str) -> dict[str, Any]:
    """Returns the keyword arguments of a training forward pass.

    They come from the user's `example_inputs`, if any, else from the model's class. Their values do not matter.

    Args:
        model: The model, PEFT's wrapper included.
        source: What the model was built from.
        micro_batch_size: Samples per forward pass.
        lengths: Tokens of each sequence and target.
        device: Device of the tensors.

    Raises:
        ModelCodeError: The inputs are not known, or `example_inputs` fails.
    """
    if isinstance(source, str):
        module = module_of(source)
        if (example := getattr(module, EXAMPLE_INPUTS, None)) is not None:
            with blamed(f"{module.__name__}.{EXAMPLE_INPUTS}"), torch.device(device):
                return _named(example(micro_batch_size, lengths[0]), model)
    if not hasattr(model, "main_input_name"):
        where = f"{module_name(str(source))} needs a function"
        raise ModelCodeError(
            f"the inputs of {type(model).__name__} cannot be told",
            f"{where} {EXAMPLE_INPUTS}(micro_batch_size, sequence_length) that returns the arguments of forward",
        )
    return _of_transformers(model, micro_batch_size, lengths, device)


def tokens_per_sample(model: Any) -> int | None:
    """Returns the length of the sequence that an image becomes, in tokens; None where the user chooses it."""
    config: Any = getattr(model, "config", None)
    if getattr(model, "main_input_name", None) != "pixel_values" or not hasattr(config, "patch_size"):
        return None
    if not hasattr(config, "image_size"):
        return None
    size, patch = (x if isinstance(x, tuple | list) else (x, x) for x in (config.image_size, config.patch_size))
    return int(size[0] // patch[0]) * int(size[1] // patch[1]) + 1


def has_target(model: Any) -> bool:
    """Returns whether a model of transformers reads one text and predicts another one, an encoder-decoder."""
    is_encoder_decoder = getattr(getattr(model, "config", None), "is_encoder_decoder", False)
    return bool(is_encoder_decoder) and Task.of_class(type(base_of(model)).__name__) is Task.SEQ2SEQ_LM


def loss_of(output: Any) -> torch.Tensor:
    """Returns the scalar loss in the result of a forward pass.

    Raises:
        ModelCodeError: There is none.
    """
    found = output
    if isinstance(output, Mapping):
        found = output.get("loss")
    elif not isinstance(output, torch.Tensor):
        found = getattr(output, "loss", None)
        if found is None and isinstance(output, tuple | list) and output:
            found = output[0]
    if not isinstance(found, torch.Tensor) or found.dim() > 0:
        raise ModelCodeError(
            f"forward returned {type(output).__name__}, in which there is no loss",
            "a training forward pass returns a scalar, a tuple that begins with one, or an output with .loss",
        )
    return found


def _of_transformers(model: Any, micro_batch_size: int, lengths: Lengths, device: str) -> dict[str, Any]:
    """Makes the inputs of a model of transformers: its main input, and the labels that its class takes."""
    name, kind = model.main_input_name, type(base_of(model)).__name__
    config, (sequence_length, target_length) = model.config, lengths

    def zeros(*shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=torch.int64, device=device)

    if name == "pixel_values":
        size = config.image_size if isinstance(config.image_size, tuple | list) else (config.image_size,) * 2
        pixels = torch.zeros(micro_batch_size, config.num_channels, *size, device=device)
        return {"pixel_values": pixels, "labels": zeros(micro_batch_size)}
    if name != "input_ids":
        raise ModelCodeError(
            f"{kind} is fed {name}, whose shape cannot be told",
            f"wrap it in a module of your own with {EXAMPLE_INPUTS}, and give module:function as the model",
        )
    ids = zeros(micro_batch_size, sequence_length)
    if "QuestionAnswering" in kind:
        return {"input_ids": ids, "start_positions": zeros(micro_batch_size), "end_positions": zeros(micro_batch_size)}
    if "SequenceClassification" in kind:
        return {"input_ids": ids, "labels": zeros(micro_batch_size)}
    if Task.of_class(kind) is Task.CONTRASTIVE:
        return {"anchor": ids, "positive": zeros(micro_batch_size, sequence_length)}
    if target_length in (None, sequence_length):
        return {"labels": ids, "input_ids": ids}
    return {"labels": zeros(micro_batch_size, target_length), "input_ids": ids}


def _named(inputs: Any, model: Any) -> dict[str, Any]:
    """Names positional inputs as the model's forward does."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return dict(zip(inspect.signature(model.forward).parameters, given, strict=False))
