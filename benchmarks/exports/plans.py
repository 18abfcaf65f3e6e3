"""Exports random plans to each target, and counts those that it can say and why others are refused.

    python benchmarks/exports/plans.py 300 trl axolotl     # so many plans, these targets; all unless given

What is written is read back, and makes the same plan to the byte; all else is an error that names a choice.
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter
from typing import Any

from planner import ExportError, PlannerError, estimate, export
from planner.exporting.targets.registry import TARGETS
from strategies import Framework

CHOICES: dict[str, list[Any]] = {
    "finetuning": ["full", "lora", "qlora", "freeze", "bitfit"],
    "precision": ["bf16-mixed", "bf16-true", "fp16-mixed", "fp32", "tf32", "fp8-mixed"],
    "optimizer": [
        *("adamw", "adamw-foreach", "adamw-8bit", "paged-adamw-32bit", "adafactor", "galore", "apollo-mini"),
        *("muon", "sgd", "sgd-momentum", "lion", "adamw-4bit"),
    ],
    "update": ["after-backward", "in-backward"],
    "checkpointing": ["none", "full", "full-reentrant", "offload", "selective-matmuls"],
    "checkpoint_every": [1, 2],
    "attention": ["sdpa", "eager", "flash-attention-2", "flex"],
    "loss": ["full", "chunked", "liger-fused-linear", "liger-cross-entropy"],
    "kernels": ["eager", "liger", "compile"],
    "quantization": ["nf4", "nf4-double", "int8"],
    "unquantized_dtype": ["fp32", "bf16", "fp16"],
    "lora_rank": [4, 64],
    "lora_dropout": [0.0, 0.1],
    "lora_targets": ["all-linear", "q_proj,v_proj"],
    "adapter_dtype": ["fp32", "weights"],
    "trained_modules": ["none", "head", "embeddings", "embeddings-and-head"],
    "sharding": ["no_shard", "full_shard", "shard_grad_op", "zero1"],
    "sharding_backend": ["fsdp1", "fsdp2", "deepspeed"],
    "gradient_sync": ["last", "each"],
    "gradient_buckets": ["copies", "views"],
    "offload": ["none", "cpu", "optimizer"],
    "allocator": ["native", "expandable"],
    "batching": ["full", "padded", "packed"],
    "evaluation_batch_size": [2],
    "gpus": [1, 2, 8],
    "micro_batch_size": [1, 4],
    "gradient_accumulation_steps": [1, 16],
    "sequence_length": [512, 2048],
}


ZERO: dict[str, list[Any]] = {
    "sharding": ["zero1", "shard_grad_op", "full_shard"],
    "gpus": [2, 8],
    "offload": ["none", "optimizer", "cpu"],
}
"""Of plans by DeepSpeed, which its target alone can say: all of them have one of each."""
SIZES: dict[str, list[Any]] = {
    "reduce_bucket": [0, 10**6],
    "overlap_comm": ["auto", "yes", "no"],
    "prefetch_bucket": [0, 10**6],
    "persistence_threshold": [0, 10**5],
    "sub_group_size": [0, 10**8],
}
"""Choices that only DeepSpeed has."""


def drawn(target: str, chance: random.Random) -> dict[str, Any]:
    """Returns the choices of a random plan; those of the target `deepspeed` are of plans that it divides."""
    choices = {**CHOICES, **SIZES} if target == "deepspeed" else CHOICES
    names = chance.sample(sorted(choices), chance.randint(0, 7))
    options = {name: chance.choice(choices[name]) for name in names}
    if target == "deepspeed":
        options |= {name: chance.choice(values) for name, values in ZERO.items()}
        options["sharding_backend"] = "deepspeed"
    return options


def counted(target: str, number: int) -> tuple[int, Counter[str]]:
    """Returns how many of so many random plans a target can say, and the errors of the others."""
    framework = target if target in list(map(str, Framework)) else "transformers"
    chance, errors, done, said = random.Random(0), Counter[str](), 0, 0
    while done < number:
        options = drawn(target, chance)
        try:
            plan = estimate("llama-3.2-1b", gpu="A100-40GB", framework=framework, **options)
        except PlannerError:
            continue
        done += 1
        if done % 50 == 0:
            print(f"  {done} drawn, {said} said", file=sys.stderr, flush=True)
        try:
            export(plan, target)
            said += 1
        except ExportError as error:
            errors[re.sub(r"[\d.,]+", "N", error.message)] += 1
    return said, errors


if __name__ == "__main__":
    number = int(sys.argv[1]) if sys.argv[1:] else 300
    for target in sys.argv[2:] or TARGETS:
        said, errors = counted(target, number)
        print(f"{target}: {said} of {number}", flush=True)
        for error, times in errors.most_common(8):
            print(f"  {times:>4} {error}", flush=True)
