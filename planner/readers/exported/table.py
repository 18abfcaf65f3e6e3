"""Says which keys the train.yaml of `planner export` has that are those of all its scripts: scripts/model.py, `Run`."""

from __future__ import annotations

from planner.readers.documents.table import words
from planner.readers.exported.run import LIGER

RUN = {
    "model_name_or_path": "model",
    "config_file": "model",
    "task": "task",
    "dtype": "precision",
    "trained_dtype": "precision",
    "attn_implementation": "attention",
    "compile_blocks": "kernels",
    "sequence_length": "sequence_length",
    "batching": "batching",
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
}
"""Keys that decide memory, and their words."""
RUN_IDLE = words("num_labels pooling train_data eval_data bnb_4bit_compute_dtype")
"""Keys without an effect on memory."""


def liger(section: str) -> dict[str, str]:
    """Returns the keys of a mapping of Liger's kernels."""
    losses = ("cross_entropy", "fused_linear_cross_entropy")
    return {**{f"{section}.{name}": "loss" for name in losses}, **{f"{section}.{name}": "kernels" for name in LIGER}}
