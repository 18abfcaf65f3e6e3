"""Compares replays of QLoRA with the same steps run for real by bitsandbytes' layers on the CPU, byte by byte.

    python benchmarks/real_qlora.py              # print the table, about two minutes

torch's profiler records real runs (planner/replay/real/profiled.py). What a real run on the CPU has in addition, and no
GPU: 8 bytes for each adapter, whose scaling autograd saves as a tensor of one number, on the host whatever the device
is (torch, `wrapped_scalar_tensor`). What remains is scratch memory of CPU kernels, which is left out (`WORKSPACES`).
The last cases run DeepSpeed on two processes over gloo.
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
from planner.replay.engines.deepspeed import DeepSpeedEngine
from planner.replay.loop import Steps
from planner.replay.real.gloo import run_on_ranks
from planner.replay.real.profiled import Marks, Recorded, recorded
from planner.replay.real.run import SILENT, Unlabelled
from planner.replay.silence import undisturbed
from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    DataParallel,
    Lora,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    Strategy,
    UnquantizedDtype,
    Zero,
)

LLAMA: dict[str, Any] = {**COMMON, "model_type": "llama"}


class Case(NamedTuple):
    """Describes a QLoRA step to compare."""

    quantization: str
    unquantized: str = "fp32"
    precision: str = "bf16-mixed"
    checkpointing: str = "none"
    sharding: DataParallel = Replicated()

    def __str__(self) -> str:
        *options, sharding = self
        return " ".join(map(str, (*options, sharding.to_options()["sharding"])))

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
            sharding=self.sharding,
        )

    @property
    def workload(self) -> Workload:
        return Workload(128, 2, world_size=1 if self.sharding == Replicated() else 2)


CASES = tuple(
    Case(quantization, unquantized, precision, checkpointing)
    for quantization in ("nf4", "nf4-double")
    for unquantized in ("fp32", "bf16")
    for precision, checkpointing in (("bf16-mixed", "none"), ("bf16-true", "full"))
) + tuple(
    Case(quantization, unquantized, checkpointing=checkpointing, sharding=Zero(sharding))
    for quantization, unquantized, checkpointing, sharding in (
        ("nf4", "bf16", "none", Sharding.SHARD_GRAD_OP),
        ("nf4", "bf16", "none", Sharding.FULL_SHARD),
        ("nf4-double", "fp32", "full", Sharding.FULL_SHARD),
    )
)


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
            engine.connect()
            if isinstance(engine, DeepSpeedEngine):
                engine.model = model  # which `Engine.place` would put on the device, where it is
            micro_batches = workload.gradient_accumulation_steps
            Steps(model, engine, fields, workload, CPU, Unlabelled(marks), {}, micro_batches).run(lambda _: None)
            marks.close()
        results = profiler.profiler
        assert results is not None
        return recorded(results.kineto_results.experimental_event_tree(), marks.phases)


def compare(case: Case) -> Comparison:
    strategy, workload = case.strategy, case.workload
    if workload.world_size > 1:
        real = run_on_ranks(LLAMA, strategy, workload, run_for_real)
    else:
        real = run_for_real(LLAMA, strategy, workload)
    return Comparison(real.trace.peaks(), replay(LLAMA, strategy, workload, backend=CPU).peaks(), real.workspaces)


if __name__ == "__main__":
    for line in table(CASES, compare, 50):
        print(line, flush=True)
