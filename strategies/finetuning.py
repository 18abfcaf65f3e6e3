"""The axis of fine-tuning methods: which parameters train, and how the others are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from strategies.axis import Axis, Choice, ContradictionError, Names, Option, Values, WholeNumbers


class Finetuning(Choice):
    FULL = "full", "all parameters train"
    LORA = "lora", "low-rank adapters train, the base model is frozen"
    QLORA = "qlora", "low-rank adapters over a base model quantized to 4 bits"


class Quantization(Choice):
    """How QLoRA stores the base model's linear layers."""

    NONE = "none", "not quantized"
    NF4 = "nf4", "NF4, fp32 scale per 64 elements"
    NF4_DOUBLE = "nf4-double", "NF4 with scales quantized to 8 bits"


LoraTargets = Literal["all-linear"] | tuple[str, ...]
ALL_LINEAR: Literal["all-linear"] = "all-linear"


@dataclass(frozen=True, slots=True)
class Full:
    """Every parameter trains."""

    method = Finetuning.FULL


@dataclass(frozen=True, slots=True)
class Lora:
    """Adapters A (rank x in) and B (out x rank) beside each targeted linear layer; kept in fp32, as PEFT does
    (`autocast_adapter_dtype`)."""

    rank: int = 16
    targets: LoraTargets = ALL_LINEAR
    quantization: Quantization = Quantization.NONE

    @property
    def method(self) -> Finetuning:
        return Finetuning.LORA if self.quantization is Quantization.NONE else Finetuning.QLORA

    def adapts(self, short_name: str) -> bool:
        """Whether a linear layer of that name (`q_proj`) gets an adapter."""
        return self.targets == ALL_LINEAR or short_name in self.targets

    def check_targets(self, known: tuple[str, ...], model: str) -> None:
        """Raises ContradictionError if the model has no linear layer of a target's name."""
        missing = [t for t in self.targets if t not in known] if self.targets != ALL_LINEAR else []
        if missing:
            raise ContradictionError(
                f"{model} has no linear layer {', '.join(repr(m) for m in missing)} for LoRA",
                f"--lora-targets takes {', '.join(known)} or all-linear",
            )


Method = Full | Lora


def _join(values: Values) -> Method:
    if values["finetuning"] is Finetuning.FULL:
        return Full()
    quantization = values.get("quantization") or Quantization.NONE
    return Lora(values["lora_rank"], values["lora_targets"], quantization)


def _split(method: Method) -> Values:
    if isinstance(method, Full):
        return {"finetuning": method.method}
    return {
        "finetuning": method.method,
        "lora_rank": method.rank,
        "lora_targets": method.targets,
        "quantization": method.quantization,
    }


_ADAPTED = (Finetuning.LORA, Finetuning.QLORA)
MAX_RANK = 2**14
"""A rank beyond the width of most layers is a mistake."""

AXIS = Axis(
    Option("finetuning", Finetuning),
    (
        Option(
            "lora_rank",
            WholeNumbers(1, MAX_RANK, 16),
            "Rank of the adapters, 16 unless given.",
            "rank {}",
            None,
            _ADAPTED,
            grows=True,
        ),
        Option(
            "lora_targets",
            Names(ALL_LINEAR, "q_proj,v_proj"),
            "Layers with adapters: q_proj,v_proj or all-linear, which is the default.",
            "on {}",
            None,
            _ADAPTED,
        ),
        Option("quantization", Quantization, phrase="{}", quiet=Quantization.NONE, belongs_to=(Finetuning.QLORA,)),
    ),
    _join,
    _split,
)
