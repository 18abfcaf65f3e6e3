"""The axis of fine-tuning methods: which parameters train, and how the others are stored."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from strategies.axis import Axis, Choice, ContradictionError, Names, Option, Shares, Values, WholeNumbers


class Finetuning(Choice):
    FULL = "full", "all parameters train"
    LORA = "lora", "low-rank adapters train, the base model is frozen"
    QLORA = "qlora", "low-rank adapters over a quantized base model"
    FREEZE = "freeze", "the last blocks train, all before them are frozen"
    BITFIT = "bitfit", "only biases train"


class Quantization(Choice):
    """How QLoRA stores the base model's linear layers. GPTQ and AWQ: in groups of 128, by GPTQModel's kernels that
    `backend=auto_trainable` selects (gptqmodel/utils/importer.py): for GPTQ `TritonV2QuantLinear`, which trains by
    torch's products of a weight dequantized in forward and kept for backward; for AWQ `AwqGEMMTritonLinear`, which
    multiplies in fp16 and dequantizes again in backward."""

    NONE = "none", "not quantized"
    NF4 = "nf4", "NF4, fp32 scale per 64 elements"
    NF4_DOUBLE = "nf4-double", "NF4 with scales quantized to 8 bits"
    INT8 = "int8", "bitsandbytes LLM.int8(), fp32 scale per row, outliers apart"
    GPTQ = "gptq-4bit", "GPTQ in 4 bits, groups of 128; GPTQModel keeps each dequantized weight for backward"
    AWQ = "awq-4bit", "AWQ in 4 bits, groups of 128; GPTQModel's Triton kernel, fp16"

    @property
    def by_bitsandbytes(self) -> bool:
        return self in (Quantization.NF4, Quantization.NF4_DOUBLE, Quantization.INT8)

    @property
    def by_gptqmodel(self) -> bool:
        return self in (Quantization.GPTQ, Quantization.AWQ)


class LoraVariant(Choice):
    """What PEFT adds to a layer's output."""

    LORA = "lora", "B(A(x)) scaled by alpha / rank"
    RSLORA = "rslora", "scaled by alpha / sqrt(rank): the same memory"
    DORA = "dora", "direction and magnitude apart: the norm of W + BA is computed in every forward"


class AdapterDtype(Choice):
    """PEFT's `autocast_adapter_dtype`. (Over a quantized base adapters are in fp32 either way.)"""

    FP32 = "fp32", "adapters in fp32, as PEFT makes them unless told otherwise"
    WEIGHTS = "weights", "adapters in the dtype of the base model"


class TrainedModules(Choice):
    """Modules that train as a whole beside what the method trains. PEFT (`modules_to_save`) trains copies in the base's
    dtype and keeps the originals, tied ones each apart; without it the modules themselves train."""

    NONE = "none", "no others"
    EMBEDDINGS = "embeddings", "the input embedding"
    HEAD = "head", "the language-model head"
    EMBEDDINGS_AND_HEAD = "embeddings-and-head", "both"

    @property
    def embeddings(self) -> bool:
        return self in (TrainedModules.EMBEDDINGS, TrainedModules.EMBEDDINGS_AND_HEAD)

    @property
    def head(self) -> bool:
        return self in (TrainedModules.HEAD, TrainedModules.EMBEDDINGS_AND_HEAD)


LoraTargets = Literal["all-linear"] | tuple[str, ...]
ALL_LINEAR: Literal["all-linear"] = "all-linear"


# Each method is a field of its tuple: without it, two methods of no other fields would be equal.


class Full(NamedTuple):
    """Every parameter trains."""

    method: Finetuning = Finetuning.FULL


class Lora(NamedTuple):
    """Adapters A (rank x in) and B (out x rank) beside each targeted linear layer, by PEFT."""

    rank: int = 16
    targets: LoraTargets = ALL_LINEAR
    quantization: Quantization = Quantization.NONE
    variant: LoraVariant = LoraVariant.LORA
    dropout: float = 0.0
    adapter_dtype: AdapterDtype = AdapterDtype.FP32
    trained_modules: TrainedModules = TrainedModules.NONE

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


class Freeze(NamedTuple):
    """The last `trained_blocks` blocks train, and the trained modules; the final norm does not. The blocks before them
    run without gradients and keep nothing, unless they are checkpointed: then transformers asks for the embedding's
    gradient, and backward goes through all of them."""

    trained_blocks: int = 2
    trained_modules: TrainedModules = TrainedModules.NONE
    method: Finetuning = Finetuning.FREEZE


class BitFit(NamedTuple):
    """Every parameter that is called bias trains, and no other."""

    method: Finetuning = Finetuning.BITFIT


Method = Full | Lora | Freeze | BitFit


def quantization_of(method: Method) -> Quantization:
    return method.quantization if isinstance(method, Lora) else Quantization.NONE


_LORA_FIELDS = {
    "lora_rank": "rank",
    "lora_targets": "targets",
    "quantization": "quantization",
    "lora_variant": "variant",
    "lora_dropout": "dropout",
    "adapter_dtype": "adapter_dtype",
    "trained_modules": "trained_modules",
}
"""The field of `Lora` that an option says."""
_FREEZE_FIELDS = ("trained_blocks", "trained_modules")
"""Those of `Freeze`, called as the options are."""


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
        if method.method is Finetuning.QLORA:
            del said["adapter_dtype"]
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
"""A rank beyond the width of most layers is a mistake."""

MAX_BLOCKS = 2**10
"""A model of more is none that `planner.models` reads."""

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
            belongs_to=(Finetuning.LORA,),
        ),
        Option(
            "trained_blocks",
            WholeNumbers(1, MAX_BLOCKS, 2),
            "How many of the last blocks train, 2 unless given.",
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
