"""Replays training steps until they are steady, and records every allocation of the process."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from typing import Any

from torch._subclasses.fake_tensor import FakeTensorMode

from planner.libraries.sdpa import Selection
from planner.replay.backend import CPU, CUDA_PATH, Backend
from planner.replay.engines import engine_of
from planner.replay.engines.engine import Engine
from planner.replay.extension.blocks import REPLAYED_PERIODS, BlockRun, follow, home_of, scopes_of, shorten
from planner.replay.extension.extend import IrregularError, extend
from planner.replay.loop import Steps
from planner.replay.recording.gradients import mark_gradients
from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.trace import Phase, Trace
from planner.replay.setup.accounts import check
from planner.replay.setup.build import build, equip
from planner.replay.setup.cpu_offload import offloading
from planner.replay.setup.loading import load
from planner.replay.shortcuts import shortcuts
from planner.replay.silence import YOUNG, undisturbed
from planner.replay.stand_ins import liger
from planner.replay.stand_ins.losses.chunked import Kernels
from planner.replay.stand_ins.packages import FUSED
from planner.replay.structure.batches import positions_seen
from planner.replay.structure.source import Source
from planner.replay.workload import Workload
from strategies import Strategy

MICRO_BATCHES = 2
"""Number of micro-batches of an accumulated step that are run.

Gradients exist from the second micro-batch on, and every later one repeats it. The exception is the last one where DDP
moves the gradients to its buckets; it is then run in addition.
"""

UNLIKE = 2
"""Number of additional periods that are replayed where more blocks differ from their neighbours.

With FSDP2 the last blocks have no next block to prefetch; with fp8 the model's first linear layer is not converted.
"""

Look = Callable[[Any, list[BlockRun]], None]
"""A function that is shown an equipped model on the meta device, and its runs of blocks as `shorten` returns them."""


def replay(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    *,
    kept: int = REPLAYED_PERIODS,
    backend: Backend = CUDA_PATH,
    progress: Callable[[str], None] = lambda _: None,
    look: Look = lambda model, runs: None,
) -> Trace:
    """Runs the real step on fake tensors, which allocate nothing, and records every live storage.

    Args:
        source: The fields of the model's config.json, `model_type` included; or `package.module:function`.
        strategy: The strategy to train it with.
        workload: Batch and sequence sizes, and properties of the process.
        kept: Periods of every run of equal blocks that are replayed; the others are derived from them. 0 replays all.
        backend: The device and kernels of the step.
        progress: Told what takes long.
        look: Called with each model that is replayed, before it is placed.

    Returns:
        The trace of loading and of the optimizer steps, for the whole model.
    """
    check(strategy)
    if kept and (strategy.sharding.shards or strategy.precision.facts.linear_dtype == "fp8"):
        kept += UNLIKE
    if engine_of(strategy, workload.world_size).replays_all_blocks:
        kept = 0
    try:
        return _largest(source, strategy, workload, kept, backend, progress, look)
    except IrregularError:
        progress("blocks differ: all of them")
        return _largest(source, strategy, workload, 0, backend, progress, look)


def _largest(
    source: Source,
    strategy: Strategy,
    workload: Workload,
    kept: int,
    backend: Backend,
    progress: Callable[[str], None],
    look: Look,
) -> Trace:
    """Replays the ranks that can need the most memory, and returns the trace of the one that does."""
    found, trace = 0, None
    engine = engine_of(strategy, workload.world_size)
    while trace is None or engine.rank != engine.candidates[-1]:
        engine = engine_of(strategy, workload.world_size)
        again = _replay(source, engine, workload, kept, backend, progress, look, found)
        found += 1
        if trace is None or again.size > trace.size:
            trace = again
    return trace


def _replay(
    source: Source,
    engine: Engine,
    workload: Workload,
    kept: int,
    backend: Backend,
    progress: Callable[[str], None],
    look: Look,
    number: int,
) -> Trace:
    """Replays the `number`-th of the ranks that can need the most memory."""
    progress("building the model")
    strategy = engine.strategy
    with ExitStack() as stack:
        for patch in _patches(engine, workload, backend):
            stack.enter_context(patch)
        model = build(source, strategy, backend)
        if backend.is_cuda:
            for found in FUSED:
                stack.enter_context(found.called_by(model))
        runs = shorten(model, kept)
        model = equip(model, strategy, Kernels(workload.has_flash, has_triton=backend is not CPU))
        look(model, runs)
        engine.candidates = engine.ranks_of(model)
        engine.rank = engine.candidates[number]
        stack.enter_context(engine.pretended())
        live = LiveBytes(backend.block_bytes, workload.cublas_workspace_bytes, workload.micro_batch_size)
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            live.enter(Phase.LOADING, 0)
            blocks = scopes_of(model, runs)
            model = engine.place(model, backend, lambda path: live.move(home_of(path, blocks)))
            scopes = follow(model, live, runs)
            micro_batches = min(workload.gradient_accumulation_steps, MICRO_BATCHES + engine.extra_micro_batches)
            rewrite = partial(load, model, strategy, live, runs, workload.empties_cache)
            steps = Steps(model, engine, source, workload, backend, live, scopes, micro_batches, rewrite)
            if workload.marks_gradients:
                mark_gradients((p for _, p, _ in steps.trained), live)
            steps.run(progress)  # `steps` outlives the recording: freeing model and optimizer is no part of a step
    return extend(live.trace, runs)


def _patches(engine: Engine, workload: Workload, backend: Backend) -> tuple[AbstractContextManager[object], ...]:
    """Returns what is changed of the process and of libraries while a replay lasts, in the order of entering."""
    strategy = engine.strategy
    selection = Selection(workload.sdpa_kernel, workload.has_flash, workload.batching, workload.prefers_cudnn)
    return (
        undisturbed(YOUNG),
        shortcuts(),
        positions_seen(workload.batching),
        offloading(strategy),
        backend.kernels(selection.under(strategy.attention)),
        liger.restored(),
        engine.patches(),
    )
