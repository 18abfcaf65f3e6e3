"""Runs the step for real on several ranks: one process each on this machine, which exchange their data with gloo."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from planner.replay.real.profiled import Recorded
from planner.replay.real.run import run_on_cpu
from planner.replay.setup.build import mesh_of
from planner.replay.step import Workload
from planner.replay.structure.source import Source
from strategies import Strategy

POLL_SECONDS = 0.0005
PATIENCE_SECONDS = 1.0
FILE = "recorded.pt"


def run_on_ranks(source: Source, strategy: Strategy, workload: Workload) -> Recorded:
    """What rank 0 of `workload.world_size` allocates and frees during the steps."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, source, strategy, workload)
        spawn(_rank, arguments, workload.world_size)
        found: Recorded = torch.load(Path(folder) / FILE, weights_only=False)
        return found


def _rank(rank: int, folder: str, source: Source, strategy: Strategy, workload: Workload) -> None:
    """One process. A file instead of a port: nothing else can have taken it."""
    torch.set_num_threads(1)
    ranks = workload.world_size
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    with _released():
        found = run_on_cpu(source, strategy, workload, mesh=mesh_of(strategy.sharding, ranks))
    if rank == 0:
        torch.save(found, Path(folder) / FILE)
    dist.barrier()
    dist.destroy_process_group()


@contextmanager
def _released() -> Iterator[None]:
    """Collectives return when gloo's threads have let go of their tensors: the profiler does not see those threads, and
    would miss what the last owner frees there."""
    names = "all_gather_into_tensor", "reduce_scatter_tensor"
    originals = {name: getattr(dist, name) for name in names}
    for name, original in originals.items():
        setattr(dist, name, _waiting(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def _waiting(collective: Callable[..., Any]) -> Callable[..., None]:
    def call(*args: Any, async_op: bool = False, **kwargs: Any) -> None:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        before = [_owners(tensor) for tensor in tensors]
        work = collective(*args, async_op=True, **kwargs)
        work.wait()
        del work
        deadline = time.monotonic() + PATIENCE_SECONDS
        while [_owners(tensor) for tensor in tensors] > before and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    return call


def _owners(tensor: torch.Tensor) -> int:
    return torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
