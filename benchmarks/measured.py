"""Compares the memory model with peaks that others measured on a real GPU: signed errors, none left out.

python benchmarks/measured.py
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import yaml

from hardware import MIB, Cluster, load_catalog
from planner.memory import MemoryModel, Moment, SdpaKernel, TracedModel
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

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("measured_t4.yaml").read_text())
AFTER_FORWARD = (Moment.START_OF_BACKWARD, Moment.BLOCK_BACKWARD, Moment.EMBEDDING_BACKWARD)


def strategy_of(case: dict[str, Any]) -> Strategy:
    """Returns the strategy of a case; without autocast, fp16 weights take the bytes of bf16-true."""
    quantization = Quantization(case["quantization"])
    return PLAIN._replace(
        precision=Precision.BF16_TRUE,
        optimizer=Optimizer.ADAMW_FOREACH,
        finetuning=Lora(case["lora_rank"], tuple(case["lora_targets"]), quantization),
        checkpointing=Checkpoints(Checkpointing(case.get("checkpointing", "full"))),
        attention=Attention(case["attention"]),
    )


def predicted(case: dict[str, Any]) -> tuple[int, int]:
    """Returns the allocated and reserved bytes that the memory model predicts for a case.

    The measuring loop kept the model's outputs, so the logits, in the dtype of the head's weights, are alive throughout
    backward.
    """
    model, strategy = find_model(case["model"]), strategy_of(case)
    size, length = case["micro_batch_size"], case["sequence_length"]
    # The script pins the memory-efficient kernel, and repeats grouped keys and values for it.
    cluster, kernel = Cluster(load_catalog().get("T4")), SdpaKernel.EFFICIENT
    memory = MemoryModel(TracedModel(model.inventory, length), cluster, kernel)
    footprint = memory.footprint(strategy, micro_batches=1)
    itemsize = 2 if case["quantization"] == Quantization.NONE else 4
    logits = size * length * model.architecture.vocab_size * itemsize
    moments = footprint.moments(size)
    allocated = max(num_bytes + logits * (moment in AFTER_FORWARD) for moment, num_bytes in moments.items())
    return allocated, footprint.slack.reserved_bytes(allocated)


def errors(case: dict[str, Any]) -> tuple[float, float]:
    """Returns the relative errors of the allocated and the reserved bytes."""
    allocated, reserved = predicted(case)
    return allocated / MIB / case["allocated_mib"] - 1, reserved / MIB / case["reserved_mib"] - 1


def main() -> None:
    groups: dict[str, list[tuple[float, float]]] = {}
    for case in CASES:
        allocated, reserved = errors(case)
        groups.setdefault(f"{case['method']}, {case['attention']}", []).append((allocated, reserved))
        print(f"{case['id']:70} {case['allocated_mib']:8.1f} MiB  {allocated:+.2%}   reserved {reserved:+.1%}")
    print(
        "\n| T4 | n | allocated, median | worst | reserved (an estimate), median | worst |\n|---|---|---|---|---|---|"
    )
    for name, found in sorted(groups.items()):
        cells = []
        for column, digits in zip(zip(*found, strict=True), (2, 1), strict=True):
            median, worst = statistics.median(map(abs, column)), max(column, key=abs)
            cells += [f"{median:.{digits}%}", f"{worst:+.{digits}%}"]
        print(f"| {name} | {len(found)} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
