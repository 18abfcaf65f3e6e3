"""Knows what training libraries call the arguments of questions, for hints of errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hardware import nearest_names

ELSEWHERE: Final = {
    **dict.fromkeys(("max_length", "max_seq_length", "max_seq_len", "cutoff_len", "sequence_len"), "sequence_length"),
    **dict.fromkeys(("context_length", "context", "block_size", "model_max_length"), "sequence_length"),
    **dict.fromkeys(("seq_len", "seq_length", "seqlen", "ctx", "ctx_len"), "sequence_length"),
    **dict.fromkeys(("max_target_length", "max_answer_length", "target_len", "decoder_length"), "target_length"),
    **{"max_source_length": "sequence_length"},
    **dict.fromkeys(("per_device_train_batch_size", "mbs", "bs"), "micro_batch_size"),
    **dict.fromkeys(("per_device_eval_batch_size", "eval_batch_size"), "evaluation_batch_size"),
    **dict.fromkeys(("train_batch_size", "gbs", "effective_batch_size"), "global_batch_size"),
    **dict.fromkeys(("grad_accum", "accumulate_grad_batches", "gas"), "gradient_accumulation_steps"),
    **dict.fromkeys(("num_gpus", "n_gpus", "num_processes", "nproc_per_node", "world_size"), "gpus"),
    **dict.fromkeys(("gpus_per_node", "ngpus", "devices"), "gpus"),
    **dict.fromkeys(("vram", "vram_gb", "memory", "gpu_memory", "gpu_memory_gb", "gpu_ram"), "gpu"),
    **dict.fromkeys(("gpu_name", "gpu_type", "device", "accelerator", "card"), "gpu"),
    **dict.fromkeys(("ram", "host_ram", "cpu_ram", "cpu_memory", "system_memory"), "host_memory"),
    **dict.fromkeys(("num_nodes", "nnodes", "num_machines"), "nodes"),
    **dict.fromkeys(("num_train_epochs", "num_epochs"), "epochs"),
    **dict.fromkeys(("dtype", "torch_dtype", "mixed_precision"), "precision"),
    **dict.fromkeys(("lora_r", "lora_dim", "rank", "r"), "lora_rank"),
    **dict.fromkeys(("lora", "qlora", "full", "peft", "adapter", "method"), "finetuning"),
    **dict.fromkeys(("finetuning_type", "train_type"), "finetuning"),
    **dict.fromkeys(("sft", "dpo", "grpo", "ppo", "rl", "stage", "rlhf_type"), "task"),
    **dict.fromkeys(("bf16", "fp16", "fp8", "fp32", "tf32"), "precision"),
    **dict.fromkeys(("cpu_offload", "offload_params", "offload_optimizer", "offload_param"), "offload"),
    **dict.fromkeys(("flash_attn", "flash_attention", "use_flash_attn", "attn_impl"), "attention"),
    **dict.fromkeys(("unsloth", "trl", "axolotl", "llama_factory", "trainer"), "framework"),
    **dict.fromkeys(("ddp", "fsdp2", "zero", "zero1", "zero2", "zero3", "sharding_strategy", "strategy"), "sharding"),
    **dict.fromkeys(("zero_stage", "zero_optimization"), "sharding"),
    **dict.fromkeys(("load_in_4bit", "load_in_8bit", "quantization_bit", "quant", "quantize", "bits"), "quantization"),
    **{"optim": "optimizer", "gradient_checkpointing": "checkpointing", "attn_implementation": "attention"},
    **{"target_modules": "lora_targets", "lora_target": "lora_targets", "use_liger_kernel": "kernels"},
    **{"use_dora": "lora_variant", "use_rslora": "lora_variant", "use_peft": "finetuning", "torch_compile": "kernels"},
    **{"fsdp": "sharding", "deepspeed": "sharding_backend", "packing": "batching", "padding_free": "batching"},
    **{"model_name_or_path": "model", "base_model": "model", "enable_gradient_checkpointing": "checkpointing"},
    **{"activation_checkpointing": "checkpointing"},
}
"""What training libraries and launchers call arguments, and what they are called here."""

SWITCHED_ON: Final = {
    **dict.fromkeys(("gradient_checkpointing", "enable_gradient_checkpointing", "activation_checkpointing"), "full"),
    **dict.fromkeys(("flash_attn", "flash_attention", "use_flash_attn"), "flash-attention-2"),
    **dict.fromkeys(("cpu_offload", "offload_params", "offload_param"), "cpu"),
    **{"offload_optimizer": "optimizer", "use_liger_kernel": "liger", "torch_compile": "compile"},
    **{"use_dora": "dora", "use_rslora": "rslora", "peft": "lora", "use_peft": "lora"},
    **{"packing": "packed", "padding_free": "packed", "fsdp": "full_shard", "fsdp2": "fsdp2", "ddp": "no_shard"},
    **{"load_in_4bit": "nf4", "load_in_8bit": "int8", "zero1": "zero1", "zero2": "zero2", "zero3": "zero3"},
}
"""Choice of the argument that is meant where the name is a flag that is called otherwise than the choice."""

_VALUES: Final[dict[str, dict[str, str]]] = {
    "quantization": {"4": "nf4", "8": "int8"},
    "sharding": {**{str(stage): f"zero{stage}" for stage in (1, 2, 3)}, "0": "no_shard", "fsdp": "full_shard"},
    "lora_targets": {"all": "all-linear"},
}
"""Values that training libraries give an argument under another name, and what they are here."""


def near_arguments(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Returns the arguments that a name may mean, the likeliest first: what a library calls so, or the nearest names.

    Args:
        name: The unknown name, as Python or the command line spells it.
        known: Names of the arguments that there are, spelled either way.
    """
    known = list(known)
    meant = argument_of(name, known)
    return (meant,) if meant is not None else nearest_names(name, known)


def argument_of(name: str, known: Iterable[str]) -> str | None:
    """Returns the argument that a name means, its own or what a library calls it; None if it is none of them.

    Args:
        name: The name, as Python or the command line spells it.
        known: Names of the arguments that there are, spelled either way.
    """
    spelled, called = {plain(other): other for other in known}, plain(name)
    return spelled.get(ELSEWHERE.get(called, called))


def switched_on(name: str) -> str | None:
    """Returns the choice that a flag of a library means where that is called otherwise; None of any other name."""
    return SWITCHED_ON.get(plain(name))


def value_of(name: str, value: str) -> str:
    """Returns the value of an argument that a library's argument means with a value of its own; others as they are.

    Args:
        name: What the library calls the argument, such as `zero_stage`.
        value: Its value there, such as `3`.
    """
    called = plain(name)
    argument = ELSEWHERE.get(called, "")
    if argument in ("gpu", "host_memory") and value.replace(".", "", 1).isdecimal():  # what is sold as 24 GB has 24 GiB
        return f"{value}GiB"
    first = value.split()[0] if value.split() else value  # fsdp: "full_shard auto_wrap"
    return _VALUES.get(argument, {}).get(value.casefold(), first if called == "fsdp" else value)


def plain(name: str) -> str:
    """Returns a name as Python spells arguments, whether it is given so or as an option."""
    return name.removeprefix("--").replace("-", "_").casefold()
