"""Spells settings in keys of the train.yaml that scripts of `planner export` read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from planner.readers.exported.loop import CHECKPOINTING, OF_SOME_LAYERS, OPTIMIZERS
from planner.readers.exported.run import LIGER
from planner.readers.frameworks.spelling import BATCH, PEFT, of_tables
from planner.readers.spelling.spelling import IfThere, Spelling
from planner.readers.trainer.shared import ATTENTIONS
from strategies import Checkpointing, Kernels, Loss, Offload, Precision, Sharding

_LENGTH = {"sequence_length": ("sequence_length",)}
_ACCUMULATION = {"gradient_accumulation_steps": ("gradient_accumulation_steps",)}

TRANSFORMERS = Spelling(
    {**BATCH, **_LENGTH},
    {
        **of_tables("optim"),
        ("checkpointing", Checkpointing.FULL): {"activation_checkpointing": True},
        ("checkpointing", Checkpointing.NONE): {"activation_checkpointing": False},
        **PEFT,
    },
)

_OFF = {f"liger.{name}": IfThere(False) for name in LIGER}
_LOSSES = ("liger.cross_entropy", "liger.fused_linear_cross_entropy")
_LOOP: dict[tuple[str, Any], Mapping[str, Any]] = {
    **{("optimizer", choice): {"optimizer": choice.value} for choice in (*OPTIMIZERS, *OF_SOME_LAYERS)},
    **{("checkpointing", choice): {"checkpointing": choice.value} for choice in CHECKPOINTING},
    **{("attention", choice): {"attn_implementation": name} for name, choice in reversed([*ATTENTIONS.items()])},
    ("kernels", Kernels.LIGER): {"compile_blocks": IfThere(False), **{f"liger.{name}": True for name in LIGER}},
    ("kernels", Kernels.EAGER): {"compile_blocks": IfThere(False), **_OFF},
    ("kernels", Kernels.COMPILE): {"compile_blocks": True, **_OFF},
    ("loss", Loss.LIGER_FUSED_LINEAR): {**dict.fromkeys(_LOSSES, IfThere(False)), _LOSSES[1]: True},
    ("loss", Loss.FULL): dict.fromkeys(_LOSSES, IfThere(False)),
    **PEFT,
}
"""Settings of scripts with a loop of their own."""

PYTORCH = Spelling(
    {"micro_batch_size": ("micro_batch_size",), **_ACCUMULATION, **_LENGTH},
    {
        **_LOOP,
        ("precision", Precision.BF16_MIXED): {"autocast": "bfloat16"},
        ("precision", Precision.FP16_MIXED): {"autocast": "float16"},
        ("sharding", Sharding.FULL_SHARD): {"sharding": "full_shard"},
        ("sharding", Sharding.SHARD_GRAD_OP): {"sharding": "shard_grad_op"},
        ("offload", Offload.CPU): {"offload_to_cpu": True},
        ("offload", Offload.NONE): {"offload_to_cpu": False},
    },
)

DEEPSPEED = Spelling(
    {"micro_batch_size": ("train_micro_batch_size_per_gpu",), **_ACCUMULATION, **_LENGTH},
    {
        **_LOOP,
        ("precision", Precision.BF16_MIXED): {"bf16.enabled": True, "fp16.enabled": IfThere(False)},
        ("precision", Precision.FP16_MIXED): {"fp16.enabled": True, "bf16.enabled": IfThere(False)},
    },
)
"""The batch and the precision are in DeepSpeed's JSON."""
