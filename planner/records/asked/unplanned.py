"""Answers arguments of training libraries and launchers that no argument of a question stands for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar

from planner.records.asked.arguments import plain

T = TypeVar("T")

_DIVIDED: Final = "parallelism is not planned: --sharding full_shard divides weights over all GPUs"
_WHOLE: Final = "parallelism is not planned, each GPU has whole sequences: --checkpointing offload fits longer ones"
_PARALLEL: Final = {
    **dict.fromkeys(("tp", "tensor_parallel", "tensor_model_parallel"), f"tensor {_DIVIDED}"),
    **dict.fromkeys(("pp", "pipeline_parallel", "pipeline_model_parallel"), f"pipeline {_DIVIDED}"),
    **dict.fromkeys(("ep", "expert_parallel", "expert_model_parallel"), f"expert {_DIVIDED}"),
    **dict.fromkeys(("cp", "context_parallel"), f"context {_WHOLE}"),
    **dict.fromkeys(("sp", "sequence_parallel", "ulysses_sequence_parallel"), f"sequence {_WHOLE}"),
    **dict.fromkeys(("dp", "data_parallel"), "all GPUs are data-parallel: --gpus of a node times --nodes"),
}
"""What is said of each kind of parallelism, by what launchers call its size but for how they call sizes."""
_DIVIDING: Final = ("--gpus", "{}", "--sharding", "full_shard")
_INSTEAD: Final = {
    **dict.fromkeys(("tp", "tensor_parallel", "tensor_model_parallel"), _DIVIDING),
    **dict.fromkeys(("pp", "pipeline_parallel", "pipeline_model_parallel"), _DIVIDING),
    **dict.fromkeys(("ep", "expert_parallel", "expert_model_parallel"), _DIVIDING),
    **dict.fromkeys(("cp", "context_parallel"), ("--gpus", "{}", "--checkpointing", "offload")),
    **dict.fromkeys(("sp", "sequence_parallel", "ulysses_sequence_parallel"), ("--checkpointing", "offload")),
    **dict.fromkeys(("dp", "data_parallel"), ("--gpus", "{}")),
}
"""What a command line says in place of so many ranks of each kind of parallelism."""
_SIZES: Final = ("", "_size", "_degree", "_dim", "ism")
_WITHOUT_EFFECT: Final = frozenset(
    (
        *("lr", "learning_rate", "weight_decay", "warmup_steps", "warmup_ratio", "lr_scheduler_type", "max_grad_norm"),
        *("lora_alpha", "dataset", "data", "data_path", "dataset_name", "train_file"),
        *("output_dir", "logging_steps", "save_steps", "save_strategy", "report_to", "run_name"),
    )
)
"""What a training run is told as well, and what changes neither its memory nor the time of its step."""
_IN_SOME_BLOCKS: Final = "adapters in some blocks alone are not planned: in all they take more, so leave it out"
_SEVERAL: Final = {
    **dict.fromkeys(("layers_to_transform", "peft_layers_to_transform"), _IN_SOME_BLOCKS),
    **dict.fromkeys(
        ("batch_size", "batch"), "--micro-batch-size{} of a GPU's pass, or --global-batch-size{} of a step"
    ),
    **dict.fromkeys(("zero_stage", "zero_optimization"), "ZeRO's stages are --sharding zero1, zero2 and zero3"),
    **dict.fromkeys(("max_steps", "num_steps", "steps"), "--tokens or --samples of the whole run say how long it is"),
    **dict.fromkeys(("use_vllm", "vllm"), "generation beside training is not planned: --headroom leaves memory for it"),
}
"""What is said of names that two arguments may stand for, or one in another unit."""


def answer_about(name: str, value: str | None = None) -> str | None:
    """Returns what is said of an unknown name that no argument stands for, such as `tp`; None of any other name.

    Args:
        name: The name, as Python or the command line spells it.
        value: What stands behind it on the command line.
    """
    called = plain(name)
    if called in _WITHOUT_EFFECT:
        return f"{called} changes neither memory nor speed: leave it out"
    said = f" {value}" if value is not None and value.isdecimal() else ""
    return _SEVERAL[called].replace("{}", said) if called in _SEVERAL else _of_kind(called, _PARALLEL)


def instead_of(name: str, value: str | None) -> tuple[str, ...] | None:
    """Returns what a command line says in place of a name that no argument stands for.

    Args:
        name: The name, as Python or the command line spells it.
        value: What stands behind it.

    Returns:
        Options and their values, none where the name is to be left out; None where nothing says the same.
    """
    called = plain(name)
    if called in _WITHOUT_EFFECT:
        return ()
    if value is None or not value.isdecimal():
        return None
    if called in ("batch_size", "batch"):
        return "--micro-batch-size", value
    options = _of_kind(called, _INSTEAD)
    if options is None or int(value) == 1:  # which every run is
        return None if options is None else ()
    return tuple(word.format(value) for word in options)


def _of_kind(called: str, table: Mapping[str, T]) -> T | None:
    """Returns what a table has for a kind of parallelism, whatever launchers add to its name."""
    return next((table[kind] for size in _SIZES if (kind := called.removesuffix(size)) in table), None)
