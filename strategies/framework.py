"""Defines the axis of training frameworks, which are sets of defaults over the other axes.

Each computes the same step as transformers' Trainer with the choices that it makes.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from strategies.axis import axis_of
from strategies.checkpointing import Checkpointing
from strategies.choice import Choice
from strategies.finetuning.methods import Finetuning
from strategies.finetuning.quantization import Quantization
from strategies.loss import Loss
from strategies.sharding import ShardingBackend


class FrameworkFacts(NamedTuple):
    """Says what a framework makes of a model, with `bf16: true`, where its user says nothing.

    Attributes:
        version: Its name and the version whose sources say this; empty for the planner's own defaults.
        options: Defaults of its configuration that are not those of `estimate`, by the name of the option.
        fixed: Those of these options that its configuration does not offer: a search tries no other value of them.
        prepares: Whether PEFT's `prepare_model_for_kbit_training` has the last word on what a quantized base leaves
            unquantized; if not, that stays in the dtype of the computation.
        halves_adapters: Whether adapters over a base of bitsandbytes train in bf16.
        trains_as_loaded: Whether full fine-tuning keeps weights in bf16, as they are loaded, instead of fp32.
        raised_by: Backends of the sharding that keep fp32 weights, or fp32 masters, even so.
        checkpoints: What its checkpointing is, where that is on.
        checkpoints_under: The same under backends of the sharding with which it is another.
        remark: What it also does, and the planner has no account of; empty if there is no such thing.
    """

    version: str = ""
    options: Mapping[str, Any] = MappingProxyType({})
    fixed: tuple[str, ...] = ()
    prepares: bool = True
    halves_adapters: bool = False
    trains_as_loaded: bool = False
    raised_by: tuple[ShardingBackend, ...] = ()
    checkpoints: Checkpointing = Checkpointing.FULL
    checkpoints_under: Mapping[ShardingBackend, Checkpointing] = MappingProxyType({})
    remark: str = ""


_TRL = FrameworkFacts(
    version="TRL 1.16",
    options=MappingProxyType(
        {
            "checkpointing": Checkpointing.FULL,  # trl/trainer/base_config.py: gradient_checkpointing=True
            "loss": Loss.CHUNKED,  # trl/trainer/sft_config.py, `__post_init__`: loss_type "chunked_nll"
        }
    ),
    prepares=False,  # trl/trainer/sft_trainer.py calls get_peft_model alone
    halves_adapters=True,  # the same, `if _is_quantized_model`: all that trains but DoRA's magnitudes
    # trl/trainer/utils.py, `create_model_from_path`, and model_config.py: dtype "float32"
    remark="it loads in float32 unless dtype says otherwise: a frozen base is planned with dtype: bfloat16",
)
_AXOLOTL = FrameworkFacts(
    version="axolotl 0.19",
    # axolotl/loaders/model.py, `_set_quantization_config`: "bnb_4bit_use_double_quant": True
    options=MappingProxyType({"quantization": Quantization.NF4_DOUBLE}),
    fixed=("quantization",),
    prepares=False,  # the same, `_configure_embedding_dtypes`: prepared, then cast back to torch_dtype; not under FSDP
    trains_as_loaded=True,  # the same: loaded in torch_dtype; monkeypatch/accelerate/fsdp2.py raises nothing either
    # accelerate/accelerator.py, `prepare_model`: "Upcasted low precision parameters"; DeepSpeed's bf16 optimizers
    raised_by=(ShardingBackend.FSDP1, ShardingBackend.DEEPSPEED),
    checkpoints=Checkpointing.FULL_REENTRANT,  # axolotl/utils/config/__init__.py, unless gradient_checkpointing_kwargs
    # axolotl/utils/schemas/config.py: lora_mlp_kernel, lora_qkv_kernel and lora_o_kernel become true
    remark="its fused kernels of adapters, which it switches on by itself, are left out",
)
_LLAMA_FACTORY = FrameworkFacts(
    version="LLaMA-Factory 0.9.5",
    options=MappingProxyType(
        {
            "finetuning": Finetuning.LORA,  # llamafactory/hparams/finetuning_args.py: finetuning_type
            "lora_rank": 8,  # the same
            "optimizer_rank": 16,  # the same: galore_rank, apollo_rank
            "quantization": Quantization.NF4_DOUBLE,  # hparams/model_args.py: double_quantization=True
            # model/model_utils/checkpointing.py, `prepare_model_for_training`: unless disable_gradient_checkpointing
            "checkpointing": Checkpointing.FULL_REENTRANT,
        }
    ),
    prepares=False,  # the same: norms become fp32 by upcast_layernorm alone
    checkpoints=Checkpointing.FULL_REENTRANT,  # hparams/model_args.py: use_reentrant_gc=True
    # model/model_utils/checkpointing.py, `prepare_model_for_training`: "You are using fsdp2"
    checkpoints_under=MappingProxyType({ShardingBackend.FSDP2: Checkpointing.FULL}),
    remark="with pure_bf16 it trains in bf16-true, which is said by --precision",
)


class Framework(Choice):
    """Names the training framework that wraps the model."""

    facts: FrameworkFacts

    TRANSFORMERS = "transformers", "Hugging Face Trainer with accelerate and PEFT", FrameworkFacts()
    TRL = "trl", "TRL's SFTTrainer: checkpointing, chunked loss, adapters in bf16 over an unprepared base", _TRL
    AXOLOTL = "axolotl", "axolotl: an NF4-double base whose rest is bf16, full fine-tuning of bf16 weights", _AXOLOTL
    LLAMA_FACTORY = "llama-factory", "LLaMA-Factory: LoRA of rank 8, checkpointing, an unprepared base", _LLAMA_FACTORY

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns the nearest choices of the names of trainers, and of unsloth, which is TRL's with other kernels."""
        hf = dict.fromkeys(("hf", "huggingface", "hugging-face"), cls.TRANSFORMERS)
        return {**hf, "unsloth": "trl, without unsloth's kernels", "sfttrainer": cls.TRL, "trainer": cls.TRANSFORMERS}


AXIS = axis_of(Framework)
