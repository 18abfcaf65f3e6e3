"""Defines the methods of fine-tuning: which parameters train, and how the others are stored."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from strategies.choice import Choice, ContradictionError
from strategies.finetuning.quantization import ExpertQuantization, Quantization, UnquantizedDtype


class Finetuning(Choice):
    """Names the methods of fine-tuning."""

    FULL = "full", "all parameters train"
    LORA = "lora", "low-rank adapters train, the base model is frozen"
    QLORA = "qlora", "low-rank adapters over a quantized base model"
    FREEZE = "freeze", "the last blocks train, all before them are frozen"
    BITFIT = "bitfit", "only biases train"

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns variants of LoRA, the library of adapters, and what is a task and no method."""
        variants = {name: f"lora, with --lora-variant {name}" for name in ("dora", "rslora")}
        return {**variants, "qdora": "qlora, with --lora-variant dora", "peft": cls.LORA, "sft": "full, lora or qlora"}


class LoraVariant(Choice):
    """Says what PEFT adds to the output of an adapted layer."""

    LORA = "lora", "B(A(x)) scaled by alpha / rank"
    RSLORA = "rslora", "scaled by alpha / sqrt(rank): the same memory"
    DORA = "dora", "direction and magnitude apart: the norm of W + BA is computed in every forward"


class AdapterDtype(Choice):
    """Says which dtype adapters have, which is PEFT's `autocast_adapter_dtype`.

    Over a quantized base PEFT makes them fp32 either way; TRL 1.x casts them to the dtype of the computation.
    """

    FP32 = "fp32", "adapters in fp32, as PEFT makes them unless told otherwise"
    WEIGHTS = "weights", "adapters in the dtype of the base model, over a quantized one in half precision"


class TrainedModules(Choice):
    """Names modules that train as a whole, in addition to what the method trains.

    PEFT (`modules_to_save`) trains copies in the base model's dtype and keeps the originals; tied modules get one copy
    each. Without PEFT the modules themselves train.
    """

    NONE = "none", "no others"
    EMBEDDINGS = "embeddings", "the input embedding"
    HEAD = "head", "the language-model head"
    EMBEDDINGS_AND_HEAD = "embeddings-and-head", "both"

    @property
    def embeddings(self) -> bool:
        """Returns whether the input embedding is among them."""
        return self in (TrainedModules.EMBEDDINGS, TrainedModules.EMBEDDINGS_AND_HEAD)

    @property
    def head(self) -> bool:
        """Returns whether the language-model head is among them."""
        return self in (TrainedModules.HEAD, TrainedModules.EMBEDDINGS_AND_HEAD)


LoraTargets = Literal["all-linear"] | tuple[str, ...]
"""Short names of the linear layers that get adapters, or `ALL_LINEAR`."""
ALL_LINEAR: Literal["all-linear"] = "all-linear"

DEFAULT_LORA_RANK = 16
"""Rank in most recipes (examples of PEFT's QLoRA, axolotl, Unsloth). The smallest rank and the fewest targets always
take the least memory, so a search over them would only find the weakest adapter: by default both are fixed."""

DEFAULT_TRAINED_BLOCKS = 2
"""Default of LLaMA-Factory's `freeze_trainable_layers` (hparams/finetuning_args.py)."""


# Full and BitFit have no other field than `method`: without it they would be equal, as empty tuples.


class Full(NamedTuple):
    """Trains every parameter."""

    method: Finetuning = Finetuning.FULL


class Lora(NamedTuple):
    """Trains PEFT adapters A `[rank, in]` and B `[out, rank]` next to each targeted linear layer.

    Attributes:
        rank: Rank of the adapters.
        targets: Layers that get adapters.
        quantization: How the base model's linear layers are stored; any but `NONE` makes it QLoRA.
        variant: What the adapters add to a layer's output.
        dropout: Share of the adapters' inputs that is dropped.
        adapter_dtype: Dtype of the adapters.
        trained_modules: Modules that train as a whole in addition to the adapters.
        unquantized_dtype: Dtype of what a quantized base leaves unquantized.
        expert_quantization: Whether the experts of a quantized mixture are quantized as well.
    """

    rank: int = DEFAULT_LORA_RANK
    targets: LoraTargets = ALL_LINEAR
    quantization: Quantization = Quantization.NONE
    variant: LoraVariant = LoraVariant.LORA
    dropout: float = 0.0
    adapter_dtype: AdapterDtype = AdapterDtype.FP32
    trained_modules: TrainedModules = TrainedModules.NONE
    unquantized_dtype: UnquantizedDtype = UnquantizedDtype.FP32
    expert_quantization: ExpertQuantization = ExpertQuantization.NONE

    @property
    def separates_experts(self) -> bool:
        """Whether each expert has linear layers of its own, which are quantized."""
        return self.quantization is not Quantization.NONE and self.expert_quantization is ExpertQuantization.SAME

    @property
    def is_prepared(self) -> bool:
        """Whether PEFT prepares the quantized base, which casts what is not quantized to fp32."""
        unprepared = self.quantization is Quantization.NONE or self.quantization.is_gptq
        return not unprepared and self.unquantized_dtype is UnquantizedDtype.FP32

    @property
    def method(self) -> Finetuning:
        """Returns `QLORA` over a quantized base model, else `LORA`."""
        return Finetuning.LORA if self.quantization is Quantization.NONE else Finetuning.QLORA

    def adapts(self, short_name: str) -> bool:
        """Returns whether a linear layer gets an adapter; `short_name` is the end of its name, such as `q_proj`."""
        return self.targets == ALL_LINEAR or short_name in self.targets

    def check_targets(self, known: tuple[str, ...], model: str) -> None:
        """Checks that every target is a linear layer of the model.

        Args:
            known: Short names of the model's linear layers.
            model: Name of the model for the error text.

        Raises:
            ContradictionError: The model has no linear layer with the name of a target.
        """
        missing = [t for t in self.targets if t not in known] if self.targets != ALL_LINEAR else []
        if missing:
            raise ContradictionError(
                f"{model} has no linear layer {', '.join(repr(m) for m in missing)} for LoRA",
                f"--lora-targets takes {', '.join(known)} or all-linear",
            )


class Freeze(NamedTuple):
    """Trains the last `trained_blocks` blocks and the trained modules, but not the final norm.

    The blocks before them run without gradients and keep nothing, unless they are checkpointed: transformers then
    requires a gradient of the embedding's output, and backward goes through all blocks.
    """

    trained_blocks: int = DEFAULT_TRAINED_BLOCKS
    trained_modules: TrainedModules = TrainedModules.NONE
    method: Finetuning = Finetuning.FREEZE


class BitFit(NamedTuple):
    """Trains every parameter that is called bias, and no other."""

    method: Finetuning = Finetuning.BITFIT


Method = Full | Lora | Freeze | BitFit
"""Value of the fine-tuning axis in a strategy."""


def quantization_of(method: Method) -> Quantization:
    """Returns how a method quantizes the base model; `NONE` for methods without adapters."""
    return method.quantization if isinstance(method, Lora) else Quantization.NONE
