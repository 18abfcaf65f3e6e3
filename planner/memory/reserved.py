"""Says what the caching allocator reserves for a strategy's steps, by serving all of their requests in order.

What makes requests and what serves them is imported when that is asked for: most answers are decided by a closed form.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from planner.memory.memoized import results_of
from planner.memory.model import MemoryModel
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.replicated import bucketed
from strategies import Allocator, Fsdp1, Fsdp2, GradientBuckets, Replicated, Strategy, Wrapping, quantization_of

if TYPE_CHECKING:
    from planner.memory.requests.around import Around
    from planner.memory.requests.fsdp1_recorded import Wraps
    from planner.memory.requests.process import Process, Steps
    from planner.memory.requests.requests import Requests
    from planner.memory.sharding.account import Unit


class Reserved(NamedTuple):
    """Holds the peaks that an allocator reaches while it serves the requests of a process."""

    allocated_bytes: int
    """Largest bytes in allocated blocks, from the first step on."""
    reserved_bytes: int
    """Largest bytes in segments."""
    fits: bool
    """Whether every request could be served within the limit."""
    retries: int
    """How often cached segments were given back to serve a request."""


def processes_of(
    model: object, strategy: Strategy, micro_batch_size: int, micro_batches: int, wraps: Wraps | None = None
) -> tuple[Process, ...]:
    """Returns the processes that train with a strategy: that of the first rank, and of the others where these differ.

    Args:
        model: The model's memory on a cluster.
        strategy: A strategy that the model can be trained with.
        micro_batch_size: Samples of a micro-batch.
        micro_batches: Micro-batches of a step.
        wraps: How FSDP1 wraps units as before torch 2.8, where that is not as the strategy says.

    Returns:
        The processes, or none where the order of their requests is not known: of a model that is known by its replays
        only, of DeepSpeed, of pairs of texts, and of FSDP2 where it reshards to fewer ranks after forward.
    """
    s = strategy
    if isinstance(s.sharding, Fsdp2) and s.sharding.reshard_size:
        return ()
    if not isinstance(model, MemoryModel) or not isinstance(s.sharding, Replicated | Fsdp1 | Fsdp2):
        return ()
    if model.is_paired:
        return ()
    from planner.memory.requests.process import Process

    steps = _steps(model, s, micro_batch_size, micro_batches)
    return tuple(Process(steps, around) for around in _arounds(model, s, steps.units, wraps))


def _steps(model: MemoryModel, strategy: Strategy, micro_batch_size: int, micro_batches: int) -> Steps:
    """Returns what the steps of a process consist of."""
    from planner.memory.requests.process import Steps

    s, sharding, setting = strategy, model.sharding(strategy), model.traced.logged(model.setting(strategy))
    units = model.units(setting, sharding)
    kept = setting, s.optimizer, sharding, s.precision.facts.trained_bytes
    partition = model.partition(*kept)
    whole = [(unit.trained, 1) for unit in units]
    groups = partition.groups[0] if len(partition.groups) == 1 else whole  # ZeRO-1 gives each rank some of them
    chunk_tokens = model.traced.chunk_tokens(setting, micro_batch_size)
    return Steps(
        parts=model.traced.parts(setting, s.checkpointing, chunk_tokens),
        units=units,
        micro_batch_size=micro_batch_size,
        micro_batches=micro_batches,
        batch_bytes=model.ids_bytes,
        workspace_bytes=model.outside.workspace_bytes,
        persistent=model.persistent(*kept),
        rule=rule_of(s.optimizer),
        updated=[tensor for trained, count in groups for tensor in tuple(trained) * count],
        ranks=partition.ranks,
        outputs=model.kept_outputs(setting, s.checkpointing, chunk_tokens),
        optimizes=s.optimizer_in_backward is None and not sharding.on_host,
    )


def _arounds(
    model: MemoryModel, strategy: Strategy, units: Sequence[Unit], wraps: Wraps | None
) -> Sequence[Callable[[Requests], Around]]:
    """Returns what makes the requests of a sharding around those of the parts, for each kind of ranks."""
    sharding, setting, world_size = model.sharding(strategy), model.setting(strategy), model.cluster.world_size
    if isinstance(sharding, Fsdp1):
        from planner.memory.requests.fsdp1 import AroundFsdp1

        around = partial(
            AroundFsdp1,
            units=units,
            sharding=sharding,
            ranks=sharding.ranks(world_size),
            replicates=sharding.replicas(world_size) > 1,
            recomputes_units=setting.recomputes_units,
        )
        if wraps is None and sharding.wrapping is Wrapping.TODAY:
            return (around,)
        from planner.memory.requests.fsdp1_recorded import Wraps

        wraps = wraps or Wraps.of(sharding, quantization_of(strategy.finetuning), model.loading, world_size)
        return [partial(around, wrapping=wrapping) for wrapping in wraps.of_ranks]
    if isinstance(sharding, Fsdp2):
        from planner.memory.requests.fsdp2 import AroundFsdp2

        ranks = sharding.ranks(world_size)
        return (lambda made: AroundFsdp2(made, units, sharding, ranks, model.ends(setting)),)
    from planner.memory.requests.around import Around, IntoBuckets

    return (IntoBuckets if bucketed(sharding, world_size) is GradientBuckets.VIEWS else Around,)


def reserved(requests: Requests, allocator: Allocator, limit_bytes: int | None = None) -> Reserved:
    """Serves requests and returns the peaks.

    Args:
        requests: The requests of a process.
        allocator: The kind of allocator.
        limit_bytes: Bytes that it may reserve; None for no limit.
    """
    from planner.memory.requests.serving import Serving

    serving = Serving(requests, allocator, limit_bytes)
    fits = serving.serve(requests.loaded) and serving.serve(len(requests.made))
    return Reserved(*serving.peaks, fits, serving.retries)


def reserved_by(process: Process, allocator: Allocator, limit_bytes: int | None) -> Reserved:
    """Serves the requests of a process while they are made, up to the first that does not fit, and returns the peaks.

    Args:
        process: The process.
        allocator: The kind of allocator.
        limit_bytes: Bytes that it may reserve; None for no limit.
    """
    from planner.memory.requests.at_once import ServedAtOnce
    from planner.memory.requests.heap import InterferenceError
    from planner.memory.requests.requests import Requests
    from planner.memory.requests.serving import Serving

    if allocator is Allocator.NATIVE:
        at_once = ServedAtOnce(limit_bytes)
        try:
            fits = at_once.serves(process.run(at_once))
        except InterferenceError:
            at_once = ServedAtOnce(limit_bytes, repeats=False)
            fits = at_once.serves(process.run(at_once))
        return Reserved(*at_once.peaks, fits, at_once.retries)
    requests = Requests()
    serving = Serving(requests, allocator, limit_bytes)
    fits = all(serving.serve(len(requests.made)) for _ in process.run(requests))
    return Reserved(*serving.peaks, fits, serving.retries)


MOST_MICRO_BATCHES = 3
"""Micro-batches of a step that differ, with whatever sharding (`Around.most_micro_batches`)."""

Asked = tuple[int, int, int]
"""Samples of a micro-batch, micro-batches of a step that differ, and the bytes that may be reserved."""


class Served:
    """Serves the processes that train a model, each once, however often that is asked.

    Args:
        model: The model's memory on a cluster.
    """

    def __init__(self, model: object) -> None:
        self._model = model
        outside = model.outside if isinstance(model, MemoryModel) else None
        # What a model remembers is shared with other GPUs, whose workspaces differ.
        self._known: dict[Any, dict[Asked, Reserved]] = results_of(model).setdefault(f"served beside {outside}", {})

    def known(self, strategy: Strategy) -> dict[Asked, Reserved]:
        """Returns what has been served of a strategy, to which more can be added."""
        return self._known.setdefault(strategy, {})

    def within(
        self, strategy: Strategy, micro_batch_size: int, micro_batches: int, limit_bytes: int
    ) -> Reserved | None:
        """Returns the peaks of the process of a rank that needs most, or None where the order of requests is not known.

        Args:
            strategy: A strategy that the model can be trained with.
            micro_batch_size: Samples of a micro-batch.
            micro_batches: Micro-batches of a step.
            limit_bytes: Bytes that the allocator may reserve.
        """
        known, asked = self.known(strategy), (micro_batch_size, min(micro_batches, MOST_MICRO_BATCHES), limit_bytes)
        if asked not in known:
            processes = processes_of(self._model, strategy, micro_batch_size, micro_batches)
            if not processes:
                return None
            known[asked] = _largest(reserved_by(process, strategy.allocator, limit_bytes) for process in processes)
        return known[asked]


def _largest(of_ranks: Iterable[Reserved]) -> Reserved:
    """Returns the peaks of the first rank that does not fit, or else of the one with the most reserved bytes."""
    found: list[Reserved] = []
    for one in of_ranks:
        if not one.fits:
            return one
        found.append(one)
    return max(found, key=lambda one: one.reserved_bytes)
