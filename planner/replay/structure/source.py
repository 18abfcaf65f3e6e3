"""Builds what is trained: a model of transformers by its config.json, or a user's own module by its code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from hardware import nearest_names
from hardware.errors import shown
from planner.replay.structure.config_data import checked, few_modules, offline
from planner.replay.structure.model_code import ModelCodeError, blamed, module_of

Source = Mapping[str, Any] | str
"""The fields of a config.json, or `package.module:function`, where the function returns a module."""

EAGER, SDPA = "eager", "sdpa"
"""Values of transformers' `attn_implementation`."""


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
    with torch.device("meta"), offline(), few_modules(), blamed(f"transformers' {build_class.__name__}"):
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


def _config_of(fields: Mapping[str, Any]) -> Any:
    """Makes transformers' configuration from the fields of a config.json."""
    from transformers import CONFIG_MAPPING, AutoConfig

    if (kind := fields["model_type"]) not in CONFIG_MAPPING:
        near = nearest_names(str(kind), list(CONFIG_MAPPING))
        hint = f"did you mean {', '.join(near)}?" if near else "package.module:function plans a module of your own"
        raise ModelCodeError(f"transformers has no model_type {shown(kind)}", hint)
    with offline(), blamed(f"transformers' configuration of {kind}"):
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


def base_of(model: Any) -> Any:
    """Returns the model inside the wrappers of FSDP1 and PEFT, or the model itself where there is no wrapper."""
    model = getattr(model, "_fsdp_wrapped_module", model)
    return model.base_model.model if hasattr(model, "peft_config") else model


def _from_code(source: str) -> Any:
    """Calls the function of `package.module:function` on the meta device, and returns its module."""
    module, name = module_of(source), source.partition(":")[2]
    function = getattr(module, name, None)
    if not callable(function):
        raise ModelCodeError(f"{module.__name__} has no function {name!r}", "package.module:function returns a module")
    with blamed(source), torch.device("meta"):
        model = function()
    if not isinstance(model, torch.nn.Module):
        raise ModelCodeError(f"{source} returned {type(model).__name__}", "it has to return a torch.nn.Module")
    return model
