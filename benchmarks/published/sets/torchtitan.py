"""Compares what the planner says is reserved with what torchtitan's runs reserved, streams' pools included.

Allocated bytes are of transformers' modules, which save more or less than torchtitan's own. A GPU with room is asked:
no run was near its limit.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import NamedTuple

from published.data_files import csv_rows

import planner
from hardware import GIB

SOURCE = "torchtitan"
GPUS_PER_NODE = 8
AXES = {
    "gpu": "H200",
    "precision": "bf16-mixed",
    "optimizer": "adamw",
    "attention": "sdpa",
    "sharding": "full_shard",
    "headroom": 0.0,
}


class Row(NamedTuple):
    """A run's reserved bytes, measured and by the planner."""

    name: str
    measured_bytes: float
    reserved_bytes: int

    @property
    def error(self) -> float:
        """Relative error of the planner's bytes."""
        return self.reserved_bytes / self.measured_bytes - 1


def rows() -> Iterator[Row]:
    """Yields the runs in the file's order."""
    for run in csv_rows("torchtitan.csv"):
        gpus = int(run["gpus"])
        memory = planner.estimate(
            run["model"],
            gpus=GPUS_PER_NODE,
            nodes=gpus // GPUS_PER_NODE,
            micro_batch_size=int(run["micro_batch_size"]),
            sequence_length=int(run["sequence_length"]),
            checkpointing=run["checkpointing"],
            sharding_backend=run["backend"],
            kernels=run["kernels"],
            loss=run["loss"],
            allocator=run["allocator"],
            outputs=run["outputs"],
            **AXES,
        ).memory
        assert memory.unlimited_reserved_bytes is not None  # the order of all requests is known
        what = f"{run['model']}, {gpus} GPUs, {run['micro_batch_size']} x {run['sequence_length']} tokens"
        name = f"{what}, checkpointing {run['checkpointing']}, {run['backend']}, {run['kernels']}"
        yield Row(name, float(run["reserved_gib"]) * GIB, memory.unlimited_reserved_bytes)


def table() -> Iterator[str]:
    """Yields lines of text: the median error, and the error of each run."""
    found = list(rows())
    yield f"reserved bytes of {len(found)} runs: median error {statistics.median(abs(r.error) for r in found):.1%}"
    for row in found:
        yield f"- {row.name}: {row.measured_bytes / GIB:.2f} GiB, {row.error:+.1%}"
