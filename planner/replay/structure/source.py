"""Builds what is trained, and finds its inputs and loss: a model of transformers or a user's own module."""

from __future__ import annotations

import importlib
import inspect
import os
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import torch

from hardware import PlannerError, nearest_names
from hardware.errors import shown
from planner.models.foreign import import_from_here
from planner.replay.structure.config_data import checked, few_modules, offline
from strategies import Task

Source = Mapping[str, Any] | str
"""The fields of a config.json, or `package.module:function`, where the function returns a module."""

EAGER, SDPA = "eager", "sdpa"
"""Values of transformers' `attn_implementation`."""

EXAMPLE_INPUTS = "example_inputs"
"""Name of the function in a user's module that makes the inputs: (micro_batch_size, sequence_length) -> arguments."""


class ModelCodeError(PlannerError):
    """Raised for a model whose code fails, or whose inputs or loss are not known."""


def build(source: Source, dtype: torch.dtype, attention: str) -> Any:
    """Builds a model on the meta device.

    Args:
        source: The fields of a config.json, or `package.module:function`.
        dtype: Dtype of the parameters.
        attention: `attn_implementation` of transformers; a model without it falls back to SDPA or to eager attention.

    Raises:
        ModelCodeError: The code of the model fails, or transformers has no such model.
        PlannerError: The configuration is refused (see `config_data.checked`).
    """
    if isinstance(source, str):
        module = _from_code(source)
        return module.to(dtype)
    config = _config_of(checked(source))
    config.use_cache = False
    if getattr(config, "is_encoder_decoder", False) and getattr(config, "decoder_start_token_id", None) is None:
        # The token is meant for generation, but in training labels are shifted behind it, too.
        config.decoder_start_token_id = getattr(config, "pad_token_id", None) or 0
    build_class = _class_of(config)
    if build_class.__name__.endswith("ForSequenceClassification") and config.num_labels > 1:
        # Other classes infer this from integer labels; DeBERTa's looks at their values, which are not there.
        config.problem_type = config.problem_type or "single_label_classification"
    if attention.endswith(SDPA) and not getattr(build_class, "_supports_sdpa", True):
        attention = EAGER
    with torch.device("meta"), offline(), few_modules(), _blamed(f"transformers' {build_class.__name__}"):
        return _as_loaded(_from_config(build_class, config, dtype, attention), source, dtype)


def _from_config(build_class: Any, config: Any, dtype: torch.dtype, attention: str) -> Any:
    """Builds a model with the first attention that its class accepts: the given one, SDPA, eager."""
    for name in (attention, SDPA) if attention != EAGER else ():
        try:
            return build_class._from_config(config, dtype=dtype, attn_implementation=name)
        except (KeyError, ValueError) as error:  # some classes look the name up themselves
            if name not in str(error):
                raise
    return build_class._from_config(config, dtype=dtype, attn_implementation=EAGER)


def _as_loaded(model: Any, fields: Mapping[str, Any], dtype: torch.dtype) -> Any:
    """Does what `from_pretrained` does in addition to `_from_config`.

    Some modules are kept in fp32 (`_get_dtype_plan`). The head is untied where the file says so, although T5's
    configuration ties it whatever the file says (`tie_weights`).
    """
    kept = {*(model._keep_in_fp32_modules_strict or ())}
    kept |= {*(model._keep_in_fp32_modules or ())} if dtype is torch.float16 else set()
    for name, parameter in model.named_parameters():
        if kept.intersection(name.split(".")):
            parameter.data = parameter.data.float()
    head = model.get_output_embeddings()
    if fields.get("tie_word_embeddings") is False and head is not None:
        for name in [name for name, module in model.named_modules() if module is head]:
            if model.all_tied_weights_keys.pop(f"{name}.weight", None):
                head.weight = torch.nn.Parameter(torch.empty_like(head.weight))
    return model


def inputs_of(model: Any, source: Source, micro_batch_size: int, sequence_length: int, device: str) -> dict[str, Any]:
    """Returns the keyword arguments of a training forward pass.

    They come from the user's `example_inputs`, if any, else from the model's class. Their values do not matter.

    Args:
        model: The model, PEFT's wrapper included.
        source: What the model was built from.
        micro_batch_size: Samples per forward pass.
        sequence_length: Tokens per sample.
        device: Device of the tensors.

    Raises:
        ModelCodeError: The inputs are not known, or `example_inputs` fails.
    """
    if isinstance(source, str):
        module = _module_of(source)
        if (example := getattr(module, EXAMPLE_INPUTS, None)) is not None:
            with _blamed(f"{module.__name__}.{EXAMPLE_INPUTS}"), torch.device(device):
                return _named(example(micro_batch_size, sequence_length), model)
    if not hasattr(model, "main_input_name"):
        where = f"{_module_name(str(source))} needs a function"
        raise ModelCodeError(
            f"the inputs of {type(model).__name__} cannot be told",
            f"{where} {EXAMPLE_INPUTS}(micro_batch_size, sequence_length) that returns the arguments of forward",
        )
    return _of_transformers(model, micro_batch_size, sequence_length, device)


def tokens_per_sample(model: Any) -> int | None:
    """Returns the length of the sequence that an image becomes, in tokens; None where the user chooses it."""
    config: Any = getattr(model, "config", None)
    if getattr(model, "main_input_name", None) != "pixel_values" or not hasattr(config, "patch_size"):
        return None
    if not hasattr(config, "image_size"):
        return None
    size, patch = (x if isinstance(x, tuple | list) else (x, x) for x in (config.image_size, config.patch_size))
    return int(size[0] // patch[0]) * int(size[1] // patch[1]) + 1


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


def _config_of(fields: Mapping[str, Any]) -> Any:
    """Makes transformers' configuration from the fields of a config.json."""
    from transformers import CONFIG_MAPPING, AutoConfig

    if (kind := fields["model_type"]) not in CONFIG_MAPPING:
        near = nearest_names(str(kind), list(CONFIG_MAPPING))
        hint = f"did you mean {', '.join(near)}?" if near else "package.module:function plans a module of your own"
        raise ModelCodeError(f"transformers has no model_type {shown(kind)}", hint)
    with offline(), _blamed(f"transformers' configuration of {kind}"):
        return AutoConfig.for_model(**fields)


def _class_of(config: Any) -> Any:
    """Returns the model class to train.

    It is the class that the file names, else the first one that has a language-model head or classifies images.
    """
    import transformers
    from transformers.models.auto import modeling_auto as auto

    for name in getattr(config, "architectures", None) or ():
        found = getattr(transformers, str(name), None)
        if isinstance(found, type) and issubclass(found, transformers.PreTrainedModel):
            return found
    for mapping in (
        auto.MODEL_FOR_CAUSAL_LM_MAPPING,
        auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
        auto.MODEL_FOR_MASKED_LM_MAPPING,
        auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING,
    ):
        if type(config) in mapping:
            found = mapping[type(config)]
            return found[0] if isinstance(found, tuple) else found
    raise ModelCodeError(
        f"no training class is known for {config.model_type}", 'name it in the file: "architectures": ["..."]'
    )


def _of_transformers(model: Any, micro_batch_size: int, sequence_length: int, device: str) -> dict[str, Any]:
    """Makes the inputs of a model of transformers: its main input, and the labels that its class takes."""
    name, kind = model.main_input_name, type(base_of(model)).__name__
    config = model.config

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
    return {"labels": ids, "input_ids": ids}


def base_of(model: Any) -> Any:
    """Returns the model inside the wrappers of FSDP1 and PEFT, or the model itself where there is no wrapper."""
    model = getattr(model, "_fsdp_wrapped_module", model)
    return model.base_model.model if hasattr(model, "peft_config") else model


def _named(inputs: Any, model: Any) -> dict[str, Any]:
    """Names positional inputs as the model's forward does."""
    if isinstance(inputs, Mapping):
        return dict(inputs)
    given = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return dict(zip(inspect.signature(model.forward).parameters, given, strict=False))


def _from_code(source: str) -> Any:
    """Calls the function of `package.module:function` on the meta device, and returns its module."""
    module, name = _module_of(source), source.partition(":")[2]
    function = getattr(module, name, None)
    if not callable(function):
        raise ModelCodeError(f"{module.__name__} has no function {name!r}", "package.module:function returns a module")
    with _blamed(source), torch.device("meta"):
        model = function()
    if not isinstance(model, torch.nn.Module):
        raise ModelCodeError(f"{source} returned {type(model).__name__}", "it has to return a torch.nn.Module")
    return model


def _module_name(source: str) -> str:
    return source.partition(":")[0]


def _module_of(source: str) -> ModuleType:
    """Imports the user's module, also from the working directory."""
    name = _module_name(source)
    import_from_here()
    with _blamed(name):
        return importlib.import_module(name)


@contextmanager
def _blamed(what: str) -> Iterator[None]:
    """Turns any failure of the code in the context into a `ModelCodeError` that says where it happened."""
    try:
        yield
    except (PlannerError, KeyboardInterrupt):
        raise
    except BaseException as error:  # SystemExit, too: the code is not the planner's
        raise failure(what, error) from error


def failure(what: str, error: BaseException) -> ModelCodeError:
    """Makes the error to raise for a failure of a model's code.

    Args:
        what: The code that was run, as the message names it.
        error: The failure. The message says the last line that it went through outside of torch and the replay.
    """
    frames = traceback.extract_tb(error.__traceback__)
    library = (os.path.dirname(torch.__file__), os.path.dirname(os.path.dirname(__file__)), "<frozen")
    own = [frame for frame in frames if not frame.filename.startswith(library)]
    where = f" ({own[-1].filename}:{own[-1].lineno})" if own else ""
    reason = " ".join(str(error).split())[:300]
    return ModelCodeError(f"{what} failed with {type(error).__name__}: {reason}{where}", "run it once by itself")
