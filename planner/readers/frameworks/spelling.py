"""Spells settings in keys of transformers' TrainingArguments, TRL, axolotl and LLaMA-Factory."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from planner.readers.spelling.spelling import Also, IfThere, Spelling
from planner.readers.tables.axolotl import LIGER, OLD_ATTENTIONS, OLD_SWIGLU
from planner.readers.trainer.shared import ATTENTIONS, OPTIMIZERS, SYNC
from strategies import Attention, Checkpointing, Finetuning, GradientSync, Kernels, Loss, Precision, Quantization

BATCH = {
    "micro_batch_size": ("per_device_train_batch_size",),
    "gradient_accumulation_steps": ("gradient_accumulation_steps",),
}


def of_tables(
    optim: str, instead: Mapping[str, Any] = MappingProxyType({})
) -> dict[tuple[str, Any], Mapping[str, Any]]:
    """Returns optimizers and attentions by the names that transformers gives them, the first of each."""
    found: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for name, meant in OPTIMIZERS.items():
        if "update" not in meant:
            found.setdefault(("optimizer", meant["optimizer"]), {optim: name})
    for name, attention in ATTENTIONS.items():
        found.setdefault(("attention", attention), {"attn_implementation": name, **instead})
    return found


_LORA = {"use_peft": True, "lora_target_modules": "all-linear", "dtype": "bfloat16"}
PEFT: dict[tuple[str, Any], Mapping[str, Any]] = {
    ("finetuning", Finetuning.LORA): _LORA,
    ("finetuning", Finetuning.QLORA): {**_LORA, "load_in_4bit": True},
    ("quantization", Quantization.NF4): {"load_in_4bit": True, "load_in_8bit": False},
}
"""Adapters as TRL's ModelConfig says them."""

_FP16: Mapping[str, Any] = {"bf16": False, "fp16": True}
_HALVES: dict[tuple[str, Any], Mapping[str, Any]] = {
    ("precision", Precision.BF16_MIXED): {"bf16": True, "fp16": IfThere(False)},
    ("precision", Precision.FP16_MIXED): _FP16,
}
"""Autocast as TrainingArguments say it."""
_EAGER: dict[tuple[str, Any], Mapping[str, Any]] = {
    ("kernels", Kernels.EAGER): {"use_liger_kernel": False},
    ("loss", Loss.FULL): {"use_liger_kernel": False},
}

_SYNC: dict[tuple[str, Any], Mapping[str, Any]] = {
    ("gradient_sync", GradientSync.EACH): {SYNC: True},
    ("gradient_sync", GradientSync.LAST): {SYNC: IfThere(False)},
}
"""When FSDP reduces gradients, in accelerate's configuration, which all of them hand on."""

_TRAINER = {
    **_HALVES,
    **_EAGER,
    **_SYNC,
    **of_tables("optim"),
    ("checkpointing", Checkpointing.FULL): {"gradient_checkpointing": True},
    ("checkpointing", Checkpointing.FULL_REENTRANT): {"gradient_checkpointing": True},
    ("checkpointing", Checkpointing.NONE): {"gradient_checkpointing": False},
    ("kernels", Kernels.LIGER): {"use_liger_kernel": True},
    ("loss", Loss.LIGER_FUSED_LINEAR): {"use_liger_kernel": True},
}
TRAINER = Spelling(BATCH, _TRAINER)
SEQ2SEQ = Spelling({**BATCH, "sequence_length": ("max_source_length",)}, _TRAINER)

TRL = Spelling(
    {**BATCH, "sequence_length": ("max_length", "max_seq_length")},
    {
        **_TRAINER,
        **PEFT,
        ("precision", Precision.FP16_MIXED): {**_FP16, **dict.fromkeys(("dtype", "torch_dtype"), IfThere("float16"))},
    },
)

LLAMA_FACTORY = Spelling(
    {**BATCH, "sequence_length": ("cutoff_len",)},
    {
        **of_tables("optim"),
        **_SYNC,
        ("attention", Attention.SDPA): {"flash_attn": "sdpa"},
        ("attention", Attention.FLASH_2): {"flash_attn": "fa2"},
        ("checkpointing", Checkpointing.FULL): {"disable_gradient_checkpointing": False},
        ("checkpointing", Checkpointing.FULL_REENTRANT): {"disable_gradient_checkpointing": False},
        ("checkpointing", Checkpointing.NONE): {"disable_gradient_checkpointing": True},
        ("kernels", Kernels.LIGER): {"enable_liger_kernel": True},
        ("loss", Loss.LIGER_FUSED_LINEAR): {"enable_liger_kernel": True},
        ("kernels", Kernels.EAGER): {"enable_liger_kernel": False},
        ("loss", Loss.FULL): {"enable_liger_kernel": False},
        ("precision", Precision.BF16_MIXED): {"bf16": True, "fp16": IfThere(False), "pure_bf16": IfThere(False)},
        ("precision", Precision.FP16_MIXED): {"bf16": IfThere(False), "fp16": True, "pure_bf16": IfThere(False)},
        ("finetuning", Finetuning.LORA): {"finetuning_type": "lora"},
        ("finetuning", Finetuning.QLORA): {"finetuning_type": "lora", "quantization_bit": 4},
        ("quantization", Quantization.NF4_DOUBLE): {"quantization_bit": 4},
    },
)

LLAMA_FACTORY_V1 = Spelling(
    {"micro_batch_size": ("micro_batch_size",), "gradient_accumulation_steps": (), "sequence_length": ("cutoff_len",)},
    {
        ("checkpointing", Checkpointing.FULL): {"enable_activation_checkpointing": True},
        ("checkpointing", Checkpointing.NONE): {"enable_activation_checkpointing": False},
    },
)

_NO_FP16 = dict.fromkeys(("fp16", "float16", "fp8"), IfThere(False))
_NO_BF16 = dict.fromkeys(("bf16", "bfloat16", "fp8"), IfThere(False))
_PLUGIN = Also("axolotl.integrations.liger.LigerPlugin")
_NO_LOSS = dict.fromkeys(
    ("liger_fused_linear_cross_entropy", "liger_cross_entropy", "cut_cross_entropy"), IfThere(False)
)
_ADAPTER = {"lora_r": 16, "lora_alpha": 32, "lora_target_linear": True}

AXOLOTL = Spelling(
    {
        "micro_batch_size": ("micro_batch_size",),
        "gradient_accumulation_steps": ("gradient_accumulation_steps",),
        "sequence_length": ("sequence_len",),
    },
    {
        **of_tables("optimizer", dict.fromkeys(OLD_ATTENTIONS, IfThere(False))),
        **_SYNC,
        ("checkpointing", Checkpointing.FULL): {"gradient_checkpointing": True},
        ("checkpointing", Checkpointing.FULL_REENTRANT): {"gradient_checkpointing": True},
        ("checkpointing", Checkpointing.NONE): {"gradient_checkpointing": False},
        ("kernels", Kernels.LIGER): {"plugins": _PLUGIN, **dict.fromkeys(LIGER, True)},
        ("kernels", Kernels.EAGER): dict.fromkeys((*LIGER, OLD_SWIGLU), IfThere(False)),
        ("loss", Loss.FULL): _NO_LOSS,
        ("precision", Precision.BF16_MIXED): {"bf16": True, **_NO_FP16},
        ("precision", Precision.FP16_MIXED): {"fp16": True, **_NO_BF16},
        ("loss", Loss.LIGER_FUSED_LINEAR): {
            **_NO_LOSS,
            "plugins": _PLUGIN,
            "liger_fused_linear_cross_entropy": True,
        },
        ("loss", Loss.CUT_CROSS_ENTROPY): {
            **_NO_LOSS,
            "plugins": Also("axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"),
            "cut_cross_entropy": True,
        },
        ("finetuning", Finetuning.LORA): {"adapter": "lora", **_ADAPTER},
        ("finetuning", Finetuning.QLORA): {"adapter": "qlora", "load_in_4bit": True, "load_in_8bit": False, **_ADAPTER},
        ("quantization", Quantization.NF4_DOUBLE): {"adapter": "qlora", "load_in_4bit": True, "load_in_8bit": False},
    },
)
