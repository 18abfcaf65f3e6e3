"""Compares replays of QLoRA with the same steps run for real by bitsandbytes' layers on the CPU, byte by byte.

    python benchmarks/real_qlora.py              # print the table, about a minute

torch's profiler records real runs (planner/replay/real/profiled.py). What a real run on the CPU has in addition, and no
GPU: 8 bytes for each adapter, whose scaling autograd saves as a tensor of one number, on the host whatever the device
is (torch, `wrapped_scalar_tensor`). What remains is scratch memory of CPU kernels, which is left out (`WORKSPACES`).
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import bitsandbytes
from gpu.libraries import assembled
from real_runs import COMMON, Comparison, table
from torch.profiler import ProfilerActivity, profile

from planner.replay import Phase, Workload, replay
from planner.replay.backend import CPU
from planner.replay.engines import engine_of
from planner.replay.real.profiled import Marks, Recorded, recorded
from planner.replay.real.run import SILENT, Unlabelled
from planner.replay.silence import undisturbed
from planner.replay.step import Steps
from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    Lora,
    Precision,
    Quantization,
    Strategy,
    UnquantizedDtype,
)

LLAMA: dict[str, Any] = {**COMMON, "model_type": "llama"}


class Case(NamedTuple):
    """Describes a QLoRA step to compare."""

    quantization: str
    unquantized: str = "fp32"
    precision: str = "bf16-mixed"
    checkpointing: str = "none"

    def __str__(self) -> str:
        return " ".join(self)

    @property
    def strategy(self) -> Strategy:
        method = Lora(
            8,
            "all-linear",
            Quantization(self.quantization),
            unquantized_dtype=UnquantizedDtype(self.unquantized),
        )
        return PLAIN._replace(
            precision=Precision(self.precision),
            finetuning=method,
            checkpointing=Checkpoints(Checkpointing(self.checkpointing)),
        )


CASES = tuple(
    Case(quantization, unquantized, precision, checkpointing)
    for quantization in ("nf4", "nf4-double")
    for unquantized in ("fp32", "bf16")
    for precision, checkpointing in (("bf16-mixed", "none"), ("bf16-true", "full"))
)
WORKLOAD = Workload(128, 2)


def run_for_real(fields: dict[str, Any], strategy: Strategy, workload: Workload) -> Recorded:
    """Returns what the CPU's allocator serves during the steps of a model with layers of bitsandbytes."""
    os.environ.setdefault("KINETO_LOG_LEVEL", SILENT)
    bitsandbytes.functional.name2qmap.clear()  # a table of scales' values that each process makes once
    marks = Marks()
    with undisturbed():
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
            marks.enter(Phase.LOADING, 0)
            model = assembled(fields, strategy, CPU)
            engine = engine_of(strategy, workload.world_size)
            micro_batches = workload.gradient_accumulation_steps
            Steps(model, engine, fields, workload, CPU, Unlabelled(marks), {}, micro_batches).run(lambda _: None)
            marks.close()
        results = profiler.profiler
        assert results is not None
        return recorded(results.kineto_results.experimental_event_tree(), marks.phases)


def compare(case: Case, workload: Workload = WORKLOAD) -> Comparison:
    real = run_for_real(LLAMA, case.strategy, workload)
    return Comparison(real.trace.peaks(), replay(LLAMA, case.strategy, workload, backend=CPU).peaks(), real.workspaces)


if __name__ == "__main__":
    for line in table(CASES, compare, 36):
        print(line, flush=True)
