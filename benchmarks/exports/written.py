"""Writes what is exported of random plans into a folder, where `accepted.py` has the real clients read it.

python benchmarks/exports/written.py FOLDER [TARGET ...]    # all targets that have a client, unless given

What a target cannot say is counted by the name of the choice.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from planner import ExportError, PlannerError, estimate, export

PLANS = 60
"""Plans of each target."""
CHOICES: dict[str, tuple[Any, ...]] = {
    "finetuning": ("full", "lora", "qlora", "freeze"),
    "precision": ("bf16-mixed", "bf16-true", "fp16-mixed", "fp32", "tf32"),
    "optimizer": (
        *("adamw", "adamw-foreach", "adamw-8bit", "paged-adamw-8bit", "adafactor", "lion", "sgd", "sgd-momentum"),
        *("galore", "apollo", "apollo-mini"),
    ),
    "trained_modules": ("none", "embeddings", "head"),
    "adapter_dtype": ("fp32", "weights"),
    "gradient_sync": ("last", "each"),
    "checkpointing": ("none", "full", "full-reentrant", "offload", "selective-matmuls"),
    "attention": ("sdpa", "eager", "flash-attention-2"),
    "quantization": ("nf4", "nf4-double", "int8"),
    "batching": ("full", "padded", "packed"),
    "sharding": ("no_shard", "full_shard", "shard_grad_op"),
    "sharding_backend": ("fsdp1", "fsdp2", "deepspeed"),
    "lora_variant": ("plain", "dora", "rslora"),
    "lora_targets": ("all-linear", "q_proj,v_proj"),
    "gpus": (1, 2, 8),
    "micro_batch_size": (1, 4),
    "gradient_accumulation_steps": (1, 4),
    "evaluation_batch_size": (None, 2),
}
TARGETS = ("trl", "axolotl", "llama-factory", "deepspeed", "skypilot")
GPUS = ("A100-40GB", "A100-80GB", "H100", "H200", "L4", "L40S", "T4", "A10G", "B200", "V100-32GB")
"""GPUs of SkyPilot's tasks."""
STAGES = ("zero1", "shard_grad_op", "full_shard")


def exports(target: str) -> Iterator[dict[str, str] | str]:
    """Files of random plans without end, the same in every run; for a plan that cannot be said, the choice's name."""
    source = random.Random(target)
    framework = target if target not in ("deepspeed", "skypilot") else "transformers"
    while True:
        names = source.sample(sorted(CHOICES), source.randint(2, 7))
        chosen = {name: source.choice(CHOICES[name]) for name in names}
        if target == "deepspeed":
            chosen |= {"gpus": 8, "sharding_backend": "deepspeed", "sharding": source.choice(STAGES)}
            chosen |= {"offload": source.choice(("none", "optimizer", "cpu"))}
        if target == "skypilot":
            chosen |= {"gpu": source.choice(GPUS), "nodes": source.choice((1, 2))}
        try:
            plan = estimate("llama-3.2-1b", **{"gpu": "A100-40GB", "framework": framework, **chosen})
            yield export(plan, target)
        except ExportError as error:
            yield error.message.removeprefix(f"{target} cannot say ")
        except PlannerError:  # these choices contradict each other
            continue


def write(folder: Path, targets: Sequence[str] = TARGETS) -> None:
    """Writes files of random plans, and prints what each target cannot say, by the name of the choice."""
    for target in targets:
        made, unsaid = 0, Counter[str]()
        for files in exports(target):
            if isinstance(files, str):
                unsaid[" ".join(files.split()[:2])] += 1
                continue
            place = folder / target / f"{made:03}"
            place.mkdir(parents=True, exist_ok=True)
            for name, text in files.items():
                (place / name).write_text(text)
            made += 1
            if made == (PLANS if target != "deepspeed" else PLANS // 3):
                break
        print(f"{target}: {made} plans; not said: {dict(unsaid.most_common())}")


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:] or TARGETS)
