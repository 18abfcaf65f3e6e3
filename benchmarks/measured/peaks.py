"""Compares the memory model with peaks that others measured on real GPUs: signed errors, none left out.

python benchmarks/measured/peaks.py

Each case is asked as a user would ask it, by the options of `planner.estimate` alone.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import yaml

import planner
from hardware import MIB
from planner.models import find_model
from strategies import (
    PLAIN,
    Attention,
    Checkpointing,
    Checkpoints,
    Lora,
    Optimizer,
    Precision,
    Quantization,
    Strategy,
)

RIGS: dict[str, dict[str, Any]] = {
    # fp16 weights without autocast. The script pins the memory-efficient kernel. Each step is a function.
    "t4": {
        "gpu": "T4",
        "precision": "fp16-true",
        "optimizer": "adamw-foreach",
        "outputs": "kept-in-step",
        "kernel": {"sdpa": "sdpa-efficient"},
    },
    # A plain loop. q, k and v are in fp32 and grouped, which SDPA gives to its math kernel.
    "rtx4080": {
        "gpu": "RTX-4080",
        "precision": "bf16-true",
        "optimizer": "paged-adamw-8bit",
        "outputs": "kept",
        "kernel": {},
    },
}
"""What all runs of a file have in common, as the comment at its beginning says."""

CASES: list[dict[str, Any]] = [
    {"rig": name, **case}
    for name in RIGS
    for case in yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text())
]


def strategy_of(case: dict[str, Any]) -> Strategy:
    """Returns the strategy that a replay of a case runs; without autocast, fp16 weights take the bytes of bf16-true."""
    quantization = Quantization(case["quantization"])
    return PLAIN._replace(
        precision=Precision.BF16_TRUE,
        optimizer=Optimizer.ADAMW_FOREACH,
        finetuning=Lora(case["lora_rank"], tuple(case["lora_targets"]), quantization),
        checkpointing=Checkpoints(Checkpointing(case.get("checkpointing", "full"))),
        attention=Attention(case["attention"]),
    )


def options_of(case: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `planner.estimate` for a case, but the model."""
    rig = dict(RIGS[case["rig"]])
    kernels, attention = rig.pop("kernel"), case["attention"]
    quantization = {} if case["quantization"] == Quantization.NONE else {"quantization": case["quantization"]}
    return {
        **rig,
        **quantization,
        "attention": kernels.get(attention, attention),
        "finetuning": case["method"],
        "lora_rank": case["lora_rank"],
        "lora_targets": ",".join(case["lora_targets"]),
        "checkpointing": case.get("checkpointing", "full"),
        "sequence_length": case["sequence_length"],
        "micro_batch_size": case["micro_batch_size"],
        "allocator": "native",
    }


def predicted(case: dict[str, Any]) -> tuple[int, int]:
    """Returns the allocated and reserved bytes that the planner estimates for a case."""
    model = case["model"]
    with tempfile.TemporaryDirectory() as folder:
        if fields := case.get("fields"):
            model = folder
            config = find_model(case["model"]).architecture.config() | fields
            (Path(folder) / "config.json").write_text(json.dumps(config))
        memory = planner.estimate(model, **options_of(case)).memory
    return memory.allocated_bytes, memory.reserved_bytes


def errors(case: dict[str, Any]) -> tuple[float, float]:
    """Returns the relative errors of the allocated and the reserved bytes."""
    allocated, reserved = predicted(case)
    return allocated / MIB / case["allocated_mib"] - 1, reserved / MIB / case["reserved_mib"] - 1


def main() -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for case in CASES:
        allocated, reserved = errors(case)
        groups.setdefault(f"{case['rig']}, {case['method']}, {case['attention']}", []).append((allocated, reserved))
        print(f"{case['id']:70} {case['allocated_mib']:8.1f} MiB  {allocated:+.2%}   reserved {reserved:+.1%}")
    print("\n| rig | n | allocated, median | worst | reserved, median | worst |\n|---|---|---|---|---|---|")
    for name, found in sorted(groups.items()):
        cells = []
        for column, digits in zip(zip(*found, strict=True), (2, 1), strict=True):
            median, worst = statistics.median(map(abs, column)), max(column, key=abs)
            cells += [f"{median:.{digits}%}", f"{worst:+.{digits}%}"]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
