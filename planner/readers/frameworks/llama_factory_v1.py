"""Reads the YAML of LLaMA-Factory's second engine, v1, whose keys are others.

Source of defaults: LLaMA-Factory 0.9.5, src/llamafactory/v1/config/, core/model_engine.py, core/base_trainer.py.
"""

from __future__ import annotations

from planner.readers.documents.keys import Keys
from planner.readers.documents.table import Table, words
from planner.readers.frameworks.spelling import LLAMA_FACTORY_V1
from planner.readers.reader import Reader, Role
from planner.readers.run import Run
from planner.readers.trainer.shared import read_attention
from strategies import (
    Batching,
    Checkpointing,
    Finetuning,
    Kernels,
    Loss,
    Optimizer,
    Precision,
    Sharding,
    ShardingBackend,
)

_SOURCE = "LLaMA-Factory 0.9.5, v1/config"

TABLE = Table(
    decides={
        "model": "model",
        "dist_config.name": "sharding, sharding_backend",
        "micro_batch_size": "micro_batch_size",
        "global_batch_size": "gradient_accumulation_steps",
        "cutoff_len": "sequence_length",
        "bf16": "precision",
        "flash_attn": "attention",
        "kernel_config.name": "kernels, loss",
        "kernel_config.use_kernels": "kernels, loss",
        "batching_strategy": "batching",
        "enable_activation_checkpointing": "checkpointing",
    },
    no_word={
        "peft_config": "adapters of v1",
        "quant_config": "quantization of v1",
        "cp_size": "context parallelism",
        "dist_config.cp_size": "context parallelism",
        "dist_config.config_file": "DeepSpeed of v1",
        "dist_config.ep_size": "expert parallelism",
        "optim_config": "an optimizer of v1's own",
    },
    idle=words(
        """
        model_class trust_remote_code template init_config train_dataset eval_dataset output_dir
        learning_rate max_steps num_train_epochs lr_scheduler_config max_grad_norm sample_backend
        max_new_tokens batching_workers logging_steps save_steps save_checkpoints seed dist_config.dcp_path
        dist_config.timeout kernel_config dist_config.ep_dispatcher cp_mode custom_chat_template
        """
    ),
    idle_prefixes=("kernel_config.", "save_", "logging_", "sample_"),
)


def read(keys: Keys, run: Run) -> None:
    """Says what a run of v1 does: the whole model in fp32, computed in bf16 by FSDP2, torch's AdamW."""
    reading = keys.reading
    reading.say("model", keys.word("model"), keys.place("model"))
    reading.say("task", "sft", why=_SOURCE)
    reading.say("finetuning", Finetuning.FULL, why="no peft_config")
    name, place = keys.word("dist_config.name"), keys.place("dist_config.name")
    if name == "fsdp2":
        reading.say_all({"sharding": Sharding.FULL_SHARD, "sharding_backend": ShardingBackend.FSDP2}, place)
    elif name is None or name == "ddp":
        reading.say("sharding", Sharding.NO_SHARD, place, "" if place else _SOURCE)
    else:
        reading.refuse(f"the engine {name} of v1", place)
    bf16 = keys.flag("bf16", otherwise=True)
    why = f"{_SOURCE}: true; the model is cast to fp32"
    reading.say("precision", Precision.BF16_MIXED if bf16 else Precision.FP32, keys.place("bf16"), why)
    keys.say_whole("micro_batch_size", "micro_batch_size", otherwise=1, why=_SOURCE)
    if keys.whole("global_batch_size") is None:
        reading.say("gradient_accumulation_steps", 1, why=f"{_SOURCE}: no global_batch_size, so no accumulation")
    else:
        reading.say("global_batch_size", keys.whole("global_batch_size"), keys.place("global_batch_size"))
    keys.say_whole("sequence_length", "cutoff_len", otherwise=2048, why=_SOURCE)
    on = keys.flag("enable_activation_checkpointing", otherwise=True)
    place = keys.place("enable_activation_checkpointing")
    reading.say("checkpointing", Checkpointing.FULL if on else Checkpointing.NONE, place, "" if place else _SOURCE)
    reading.say("optimizer", Optimizer.ADAMW_FOREACH, why="v1/core/base_trainer.py: torch.optim.AdamW")
    _read_batching(keys)
    read_attention(keys, "flash_attn")
    _read_kernels(keys)


def _read_batching(keys: Keys) -> None:
    reading, name, place = keys.reading, keys.word("batching_strategy") or "normal", keys.place("batching_strategy")
    if name == "padding_free":
        reading.say("batching", Batching.PACKED, place, "one row without padding")
    else:
        reading.say("batching", Batching.PADDED, place, "" if place else _SOURCE)
        if name != "normal":
            reading.refuse(f"micro-batches of a changing number of samples: {name}", place)


def _read_kernels(keys: Keys) -> None:
    """Says which kernels `kernel_config` switches on: v1/plugins/model_plugins/kernels/."""
    reading, name, place = keys.reading, keys.word("kernel_config.name") or "auto", keys.place("kernel_config.name")
    reading.say("kernels", Kernels.EAGER, place, "auto: kernels of NPUs alone")
    reading.say("loss", Loss.FULL, place, "" if place else _SOURCE)
    if name == "liger_kernel":
        reading.say("kernels", Kernels.LIGER, place, "all but its cross-entropy, as Liger's own defaults have it")
        reading.say("loss", Loss.LIGER_FUSED_LINEAR, place, "as Liger's own defaults have it")
    elif name != "auto":
        reading.refuse(f"the kernels {name}", place)
    if (keys.word("kernel_config.use_kernels") or "auto") != "auto":
        reading.refuse("Liger's kernels in part", keys.place("kernel_config.use_kernels"))


READER = Reader(
    "llama-factory v1",
    "LLaMA-Factory 0.9.5",
    Role.RECIPE,
    TABLE,
    frozenset({"dist_config", "kernel_config"}),
    read,
    spelling=LLAMA_FACTORY_V1,
    expands_from=2,  # v1/launcher.py, OPTIM_TORCH
)
