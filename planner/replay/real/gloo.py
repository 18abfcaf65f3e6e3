"""Runs the step for real on several ranks: one process each on this machine, which communicate by gloo."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import gt
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import start_processes

from planner.replay.real.profiled import Recorded
from planner.replay.real.run import run_on_cpu
from planner.replay.structure.source import Source
from planner.replay.workload import Workload
from strategies import FullySharded, Strategy

POLL_SECONDS = 0.0005
"""Seconds between two looks at whether gloo has released a collective's tensors."""

PATIENCE_SECONDS = 20.0
"""Seconds after which a collective returns even if gloo has not released its tensors."""

FILE = "recorded-{}.pt"
"""Name of the file in which a rank hands over its record."""


Run = Callable[[Source, Strategy, Workload], Recorded]
"""Runs the steps of one rank."""


def run_on_ranks(source: Source, strategy: Strategy, workload: Workload, run: Run = run_on_cpu) -> Recorded:
    """Runs the steps on `workload.world_size` ranks and returns what one of them allocates and frees.

    Ranks of FSDP have equal shares, and it is the first; of others it is the one with the largest peaks, as a replay
    chooses it.

    Args:
        source: The model, as for `planner.replay.replay`.
        strategy: The strategy to train it with.
        workload: Batch and sequence sizes, and the number of ranks.
        run: What each rank's process calls, which imports it.
    """
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, source, strategy, workload, run)
        multiprocessing.set_forkserver_preload([__name__])  # the libraries are imported once, and not by each rank
        start_processes(_rank, arguments, workload.world_size, start_method="forkserver")
        files = (Path(folder) / FILE.format(rank) for rank in range(workload.world_size))
        found: list[Recorded] = [torch.load(file, weights_only=False) for file in files]
        if isinstance(strategy.sharding, FullySharded):
            return found[0]
        return max(found, key=lambda record: record.trace.size)


def _rank(rank: int, folder: str, source: Source, strategy: Strategy, workload: Workload, run: Run) -> None:
    """Runs one rank's process.

    The ranks meet through a file rather than a port, because a port can be taken.
    """
    torch.set_num_threads(1)
    ranks = workload.world_size
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
    with released():
        found = run(source, strategy, workload)
    torch.save(found, Path(folder) / FILE.format(rank))
    dist.barrier()
    dist.destroy_process_group()


COLLECTIVES = (
    "all_gather_single",
    "reduce_scatter_single",
    "all_gather_into_tensor",
    "reduce_scatter_tensor",
    "all_reduce",
    "broadcast",
)
"""Collectives of torch.distributed that FSDP and DeepSpeed call.

torch 2.13's FSDP calls the first two (torch/distributed/fsdp/_fully_shard/_fsdp_collectives.py), and older releases the
next two."""


class Done:
    """Stands for a collective that is over, where the caller waits for one."""

    def wait(self) -> None:
        """Does nothing."""


@contextmanager
def released() -> Iterator[None]:
    """Makes collectives return only when gloo's threads have released their tensors.

    The profiler does not see those threads, and would miss a tensor that is freed there.
    """
    originals = {name: getattr(dist, name) for name in COLLECTIVES if hasattr(dist, name)}
    for name, original in originals.items():
        setattr(dist, name, _waiting(original))
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def _waiting(collective: Callable[..., Any]) -> Callable[..., Done | None]:
    """Wraps a collective so that it waits until no storage has more owners than before, or patience ends.

    gloo gets tensors of its own on the same storages, whose owners can be counted.
    """

    def call(*args: Any, async_op: bool = False, **kwargs: Any) -> Done | None:
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        before = [_owners(tensor) for tensor in tensors]
        work = collective(*map(_alias, args), async_op=True, **{name: _alias(value) for name, value in kwargs.items()})
        work.wait()
        del work
        deadline = time.monotonic() + PATIENCE_SECONDS
        while any(map(gt, map(_owners, tensors), before)) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        return Done() if async_op else None

    return call


def _alias(value: Any) -> Any:
    """Returns another tensor on the storage of a tensor, and anything else unchanged."""
    return value.detach() if isinstance(value, torch.Tensor) else value


def _owners(tensor: torch.Tensor) -> int:
    return torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)
