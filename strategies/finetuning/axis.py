"""Defines the axis of fine-tuning methods: the options that say what trains."""

from __future__ import annotations

from typing import Any

from strategies.axis import Axis, Names, Option, Shares, Values, WholeNumbers
from strategies.choice import ContradictionError
from strategies.finetuning.methods import (
    ALL_LINEAR,
    DEFAULT_LORA_RANK,
    DEFAULT_TRAINED_BLOCKS,
    AdapterDtype,
    BitFit,
    Finetuning,
    Freeze,
    Full,
    Lora,
    LoraVariant,
    Method,
    TrainedModules,
)
from strategies.finetuning.quantization import ExpertQuantization, Quantization, UnquantizedDtype

_LORA_FIELDS = {
    "lora_rank": "rank",
    "lora_targets": "targets",
    "quantization": "quantization",
    "lora_variant": "variant",
    "lora_dropout": "dropout",
    "adapter_dtype": "adapter_dtype",
    "trained_modules": "trained_modules",
    "unquantized_dtype": "unquantized_dtype",
    "expert_quantization": "expert_quantization",
}
"""Field of `Lora` that an option sets."""
_FREEZE_FIELDS = ("trained_blocks", "trained_modules")
"""Fields of `Freeze`, which have the names of their options."""


def _join(values: Values) -> Method:
    choice = values["finetuning"]
    if choice not in _MADE:
        raise ContradictionError(f"nothing says what trains under finetuning {choice}", "it needs a class like `Lora`")
    if choice in _ADAPTED:
        said = {field: values[name] for name, field in _LORA_FIELDS.items() if values.get(name) is not None}
        return Lora(**said)
    if choice is Finetuning.FREEZE:
        return Freeze(**{name: values[name] for name in _FREEZE_FIELDS if values.get(name) is not None})
    return _MADE[choice]()


def _split(method: Method) -> Values:
    said: dict[str, Any] = {"finetuning": method.method}
    if isinstance(method, Lora):
        said |= {name: getattr(method, field) for name, field in _LORA_FIELDS.items()}
        if method.method is Finetuning.LORA:
            del said["unquantized_dtype"], said["expert_quantization"]
    elif isinstance(method, Freeze):
        said |= {name: getattr(method, name) for name in _FREEZE_FIELDS}
    return said


_ADAPTED = (Finetuning.LORA, Finetuning.QLORA)
_MADE: dict[Finetuning, type[Method]] = {
    Finetuning.FULL: Full,
    Finetuning.LORA: Lora,
    Finetuning.QLORA: Lora,
    Finetuning.FREEZE: Freeze,
    Finetuning.BITFIT: BitFit,
}
MAX_RANK = 2**14
"""Largest rank that can be asked for: a rank beyond the width of most layers is a mistake."""

MAX_BLOCKS = 2**10
"""Largest number of trained blocks that can be asked for: `planner.models` reads no model with more blocks."""

AXIS = Axis(
    Option("finetuning", Finetuning),
    (
        Option(
            "lora_rank",
            WholeNumbers(1, MAX_RANK, DEFAULT_LORA_RANK),
            f"Rank of the adapters, {DEFAULT_LORA_RANK} unless given.",
            "rank {}",
            None,
            _ADAPTED,
            monotone=True,
        ),
        Option(
            "lora_targets",
            Names(ALL_LINEAR, "q_proj,v_proj"),
            "Layers with adapters: q_proj,v_proj or all-linear, which is the default.",
            "on {}",
            None,
            _ADAPTED,
        ),
        Option(
            "quantization", Quantization, phrase="{}", hidden_default=Quantization.NONE, belongs_to=(Finetuning.QLORA,)
        ),
        Option("lora_variant", LoraVariant, phrase="as {}", hidden_default=LoraVariant.LORA, belongs_to=_ADAPTED),
        Option(
            "lora_dropout",
            Shares(0.0, 1.0, 0.05),
            "Dropout of the adapters' inputs, none unless given.",
            "dropout {}",
            0.0,
            _ADAPTED,
        ),
        Option(
            "adapter_dtype",
            AdapterDtype,
            phrase="adapters as {}",
            hidden_default=AdapterDtype.FP32,
            belongs_to=_ADAPTED,
        ),
        Option(
            "unquantized_dtype",
            UnquantizedDtype,
            phrase="rest {}",
            hidden_default=UnquantizedDtype.FP32,
            belongs_to=(Finetuning.QLORA,),
        ),
        Option(
            "expert_quantization",
            ExpertQuantization,
            phrase="experts too",
            hidden_default=ExpertQuantization.NONE,
            belongs_to=(Finetuning.QLORA,),
        ),
        Option(
            "trained_blocks",
            WholeNumbers(1, MAX_BLOCKS, DEFAULT_TRAINED_BLOCKS),
            f"How many of the last blocks train, {DEFAULT_TRAINED_BLOCKS} unless given.",
            "all but the last {}",
            None,
            (Finetuning.FREEZE,),
            monotone=True,
        ),
        Option(
            "trained_modules",
            TrainedModules,
            phrase="with {}",
            hidden_default=TrainedModules.NONE,
            belongs_to=(*_ADAPTED, Finetuning.FREEZE),
        ),
    ),
    _join,
    _split,
)
