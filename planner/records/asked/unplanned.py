"""Answers arguments of training libraries and launchers that no argument of a question stands for."""

from __future__ import annotations

from typing import Final

from planner.records.asked.arguments import plain

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
_SIZES: Final = ("", "_size", "_degree", "_dim", "ism")
_WITHOUT_EFFECT: Final = frozenset(
    (
        *("lr", "learning_rate", "weight_decay", "warmup_steps", "warmup_ratio", "lr_scheduler_type", "max_grad_norm"),
        *("lora_alpha", "dataset", "data", "data_path", "dataset_name", "train_file"),
        *("output_dir", "logging_steps", "save_steps", "save_strategy", "report_to", "run_name"),
    )
)
"""What a training run is told as well, and what changes neither its memory nor the time of its step."""
_SEVERAL: Final = {
    **dict.fromkeys(("batch_size", "batch"), "--micro-batch-size of a GPU's pass, or --global-batch-size of a step"),
    **dict.fromkeys(("zero_stage", "zero_optimization"), "ZeRO's stages are --sharding zero1, zero2 and zero3"),
    **dict.fromkeys(("max_steps", "num_steps", "steps"), "--tokens or --samples of the whole run say how long it is"),
    **dict.fromkeys(("use_vllm", "vllm"), "generation beside training is not planned: --headroom leaves memory for it"),
}
"""What is said of names that two arguments may stand for, or one in another unit."""


def answer_about(name: str) -> str | None:
    """Returns what is said of an unknown name that no argument stands for, such as `tp`; None of any other name.

    Args:
        name: The name, as Python or the command line spells it.
    """
    called = plain(name)
    if called in _WITHOUT_EFFECT:
        return f"{called} changes neither memory nor speed: leave it out"
    of_parallelism = (_PARALLEL.get(called.removesuffix(size)) for size in _SIZES)
    return _SEVERAL.get(called) or next((answer for answer in of_parallelism if answer is not None), None)
