"""Reads the step times of fitcheck-llm, which ran LoRA and QLoRA on a Tesla T4.

The runs are those of `benchmarks/measured/t4.yaml`, whose peaks `measured/peaks.py` compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from published.throughput.step_times import Timed

SOURCE = "fitcheck-llm, T4"
FILE = Path(__file__).parents[2] / "measured" / "t4.yaml"
COMMON = {
    "gpu": "T4",
    "gradient_accumulation_steps": 1,
    "checkpointing": "full",
    "optimizer": "adamw-foreach",
    "precision": "fp16-true",
    "allocator": "native",
}
"""What all runs have in common, as the comment at the file's beginning says."""
KERNELS = {"sdpa": "sdpa-efficient"}
"""Kernels of attention that the script pins."""


def timed() -> list[Timed]:
    """Returns the runs whose step was timed, in the file's order."""
    return [_timed(case) for case in yaml.load(FILE.read_text(), Loader=yaml.CSafeLoader) if "step_seconds" in case]


def _timed(case: dict[str, Any]) -> Timed:
    length, size = case["sequence_length"], case["micro_batch_size"]
    request = COMMON | {
        "sequence_length": length,
        "micro_batch_size": size,
        "attention": KERNELS.get(case["attention"], case["attention"]),
        "finetuning": case["method"],
        "lora_rank": case["lora_rank"],
        "lora_targets": case["lora_targets"],
    }
    if case["method"] == "qlora":
        request |= {"quantization": case["quantization"], "unquantized_dtype": "fp32"}
    return Timed(
        source=SOURCE,
        name=case["id"],
        model=case["model"],
        request=request,
        tokens_per_second=length * size / case["step_seconds"],
        machine=(case["model"], "T4", 1),
    )
