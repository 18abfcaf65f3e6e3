"""Says which keys there are in the train.yaml of `planner export --to transformers`: TrainingArguments and more."""

from __future__ import annotations

from planner.readers.documents.source import Table, words
from planner.readers.trainer.fsdp import fsdp_decides, fsdp_idle, fsdp_left_out
from planner.readers.trainer.shared import SYNC, TRAINER_IDLE, TRAINER_IDLE_PREFIXES, TRAINER_LEFT_OUT, TRAINER_NO_WORD

LIGER = ("rope", "rms_norm", "swiglu", "geglu")
"""Liger's kernels that are no loss."""
_DECIDED = ("optim_args", "tf32")

TABLE = Table(
    decides={
        "model_name_or_path": "model",
        "config_file": "model",
        "task": "task",
        "dtype": "precision",
        "bf16": "precision",
        "fp16": "precision",
        "tf32": "precision",
        "attn_implementation": "attention",
        "compile_blocks": "kernels",
        "sequence_length": "sequence_length",
        "batching": "batching",
        "per_device_train_batch_size": "micro_batch_size",
        "gradient_accumulation_steps": "gradient_accumulation_steps",
        "per_device_eval_batch_size": "evaluation_batch_size",
        "eval_strategy": "evaluation_batch_size",
        "activation_checkpointing": "checkpointing",
        "gradient_checkpointing": "checkpointing",
        "activation_checkpointing_kwargs.use_reentrant": "checkpointing",
        "activation_checkpointing_kwargs.offload": "checkpointing",
        "activation_checkpointing_kwargs.every_n_layers": "checkpoint_every",
        "optim": "optimizer, update",
        "optim_args": "optimizer, optimizer_rank",
        "optim_target_modules": "optimizer",
        "use_liger_kernel": "kernels, loss",
        "liger_kernel_config.cross_entropy": "loss",
        "liger_kernel_config.fused_linear_cross_entropy": "loss",
        **{f"liger_kernel_config.{name}": "kernels" for name in LIGER},
        "use_peft": "finetuning",
        "lora_r": "lora_rank",
        "lora_alpha": "lora_alpha",
        "lora_dropout": "lora_dropout",
        "lora_target_modules": "lora_targets",
        "use_dora": "lora_variant",
        "use_rslora": "lora_variant",
        "adapter_dtype": "adapter_dtype",
        "train_modules": "trained_modules",
        "train_last_blocks": "finetuning, trained_blocks",
        "train_biases_only": "finetuning",
        "load_in_4bit": "quantization",
        "load_in_8bit": "quantization",
        "use_bnb_nested_quant": "quantization",
        "bnb_4bit_quant_storage": "quantization",
        "prepare_for_kbit_training": "unquantized_dtype",
        SYNC: "gradient_sync",
        "deepspeed": "all that the JSON says",
        "fsdp": "sharding",
        **fsdp_decides("fsdp_config"),
    },
    strict=True,
    no_word={key: what for key, what in TRAINER_NO_WORD.items() if key not in _DECIDED},
    left_out={**TRAINER_LEFT_OUT, **fsdp_left_out("fsdp_config")},
    idle=(TRAINER_IDLE - {"evaluation_strategy", *_DECIDED})
    | fsdp_idle("fsdp_config")
    | words("num_labels pooling train_data eval_data trained_dtype bnb_4bit_compute_dtype"),
    idle_prefixes=TRAINER_IDLE_PREFIXES,
)
