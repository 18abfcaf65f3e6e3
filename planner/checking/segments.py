"""Says whether a run also fits where nothing asks torch for expandable segments, with which it is planned."""

from __future__ import annotations

from collections.abc import Iterator

from hardware import GIB, GPU
from planner.checking.workload import Workload
from planner.readers.allocator import is_set_in
from planner.records.result import EstimateResult
from strategies import Allocator


def on_segments(workload: Workload, plan: EstimateResult, gpu: GPU) -> Iterator[str]:
    """Yields a note where a run that fits would not with native segments, and no file or program asks for others.

    Args:
        workload: What the run asks of GPUs.
        plan: Its plan.
        gpu: The GPU of the plan.
    """
    recipe, count = workload.run.recipe, (plan.request.gpus, plan.request.nodes)
    asks = recipe is not None and recipe.expands_from is not None and count[0] * count[1] >= recipe.expands_from
    is_said = workload.run.reading.value("allocator") is not None or any(map(is_set_in, workload.run.sources))
    if asks or is_said or not plan.memory.fits or plan.strategy.allocator is not Allocator.EXPANDABLE:
        return
    native = workload.on(gpu, count, allocator=Allocator.NATIVE).memory
    is_known = native.unlimited_reserved_bytes is not None  # the order of the requests
    taken = f"{native.process_bytes / GIB:.1f} of {native.budget_bytes / GIB:.1f} GiB"
    if is_known and not native.fits:
        yield (
            "no file sets PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True, as is planned; without it memory "
            f"fragments, and the run does not fit: {taken}."
        )
