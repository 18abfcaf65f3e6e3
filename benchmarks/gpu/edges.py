"""Tests the limit of a GPU: the largest micro-batch that the planner calls possible must run, an impossible one not.

`torch.cuda.set_per_process_memory_fraction` makes the GPU behave like a smaller one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from gpu.case import Case
from gpu.training import kernels_of, prepare_gpu, steps_of, strategy_of, synchronize

from hardware import GIB, GPU, Cluster, load_catalog
from planner.memory import Footprint, MemoryModel, TracedModel
from planner.models.families import family
from planner.models.reading.inventory import Inventory
from planner.replay.backend import CUDA
from planner.replay.silence import undisturbed
from planner.replay.workload import STEPS

RUNS = 10
"""Steps that a possible micro-batch has to complete."""


class Edge(NamedTuple):
    """Holds the micro-batches just within and beyond a GPU's memory."""

    limit_bytes: int
    """Bytes that the allocator may reserve."""
    largest: int
    """Largest micro-batch that the planner calls possible, without headroom."""
    impossible: int
    """Smallest micro-batch whose allocated bytes alone are more than may be reserved."""


def played(name: str, gib: int) -> GPU:
    """Returns a GPU of the catalog with another memory, in GiB."""
    return load_catalog().get(name).model_copy(update={"memory_bytes": gib * GIB})


def memory_of(request: Mapping[str, Any], gpu: GPU) -> MemoryModel:
    """Returns the memory model of a request on a GPU."""
    fields = dict(request["model"])
    inventory = Inventory(family(fields["model_type"]).model_validate(fields))
    traced = TracedModel(inventory, request["sequence_length"])
    return MemoryModel(traced, Cluster(gpu), evaluation_batch_size=request.get("evaluation_batch_size"))


def footprint_of(request: Mapping[str, Any], gpu: GPU) -> Footprint:
    """Returns the memory model's footprint of a request on a GPU."""
    return memory_of(request, gpu).footprint(strategy_of(request), request.get("gradient_accumulation_steps", 1))


def edge_of(request: Mapping[str, Any]) -> Edge:
    gpu = played(request["gpu"], request["gib"])
    footprint = footprint_of(request, gpu)
    limit = footprint.outside.reserved_within(gpu.memory_bytes)
    largest = footprint.largest_micro_batch(gpu.memory_bytes)
    impossible = largest + 1
    while footprint.allocated_bytes(impossible) <= limit:
        impossible += 1
    return Edge(limit, largest, impossible)


def edges_on(device: str) -> Callable[[Case], dict[str, Any]]:
    """Returns a function that runs the micro-batch of a case, on one side of the limit, and says how it ended.

    On the CPU, where no limit can be set, the peak is compared with the limit.
    """

    def measured(case: Case) -> dict[str, Any]:
        edge = edge_of(case.request)
        size = edge.largest if case.request["side"] == "possible" else edge.impossible
        found: dict[str, Any] = {**edge._asdict(), "micro_batch_size": size}
        if size == 0:
            return {**found, "steps": 0, "reason": "not one sample fits"}
        request = {**case.request, "micro_batch_size": size}
        run = _run_on_gpu if device == "cuda" else _run_on_cpu
        return {**found, **run(request, edge.limit_bytes)}

    return measured


def _run_on_gpu(request: Mapping[str, Any], limit_bytes: int) -> dict[str, Any]:
    prepare_gpu(strategy_of(request))
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total))
    done = 0
    try:
        with undisturbed(), kernels_of(strategy_of(request)):
            steps = steps_of(request, CUDA)
            for number in range(RUNS):
                steps.step(STEPS if number else 1)
                synchronize("cuda")
                done += 1
        ended = "ran"
    except torch.OutOfMemoryError:
        ended = "out of memory"
    statistics = torch.cuda.memory_stats()
    return {
        "ended": ended,
        "steps": done,
        "allocated_bytes": torch.cuda.max_memory_allocated(),
        "reserved_bytes": torch.cuda.max_memory_reserved(),
        "retries": statistics.get("num_alloc_retries", 0),
    }


def _run_on_cpu(request: Mapping[str, Any], limit_bytes: int) -> dict[str, Any]:
    from gpu.training import workload_of

    from planner.replay.real.run import run_on_cpu

    peak = max(run_on_cpu(request["model"], strategy_of(request), workload_of(request)).trace.peaks().values())
    fits = peak <= limit_bytes
    return {
        "ended": "ran" if fits else "out of memory",
        "steps": RUNS if fits else 0,
        "allocated_bytes": peak,
        "reserved_bytes": peak,
        "retries": 0,
    }
