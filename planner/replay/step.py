"""Replays training steps until they are steady, and takes the peak of each phase."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode

from planner.replay import cuda_path
from planner.replay.allocator import CachingAllocator
from planner.replay.build import autocast_dtype, base_of, build, optimizer_of, ranks, shard
from planner.replay.live import LiveBytes
from strategies import Strategy

STEPS = 2
"""Optimizer states are there from the second step on."""

MICRO_BATCHES = 2
"""Gradients are there from the second micro-batch of a step on; every later one repeats it."""


class Replayed(NamedTuple):
    """Peaks of a steady step, in bytes of tensors (rounded to 512), without cuBLAS workspaces."""

    forward_bytes: int
    backward_bytes: int
    optimizer_bytes: int
    block_bytes: int
    """Of whole allocator blocks, over all steps: what `torch.cuda.max_memory_allocated` counts."""
    reserved_bytes: int
    """What the caching allocator has taken for them, from the first weight on."""

    @property
    def peak_bytes(self) -> int:
        return max(self.forward_bytes, self.backward_bytes, self.optimizer_bytes)


def replay(
    fields: Mapping[str, Any],
    strategy: Strategy,
    *,
    world_size: int = 1,
    sequence_length: int,
    micro_batch_size: int,
    gradient_accumulation_steps: int = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Replayed:
    """Runs the real step on fake tensors: nothing is allocated, every live storage is counted.

    `fields`: of the model's config.json, `model_type` included.
    """
    progress("building the model")
    with warnings.catch_warnings(), cuda_path.taken():
        warnings.simplefilter("ignore")
        transformers.logging.set_verbosity_error()
        model = build(fields, strategy)
        mesh = ranks(world_size) if strategy.sharding.shards else None
        live = LiveBytes()
        with FakeTensorMode(allow_non_fake_inputs=True), live:
            if mesh is not None:
                shard(model, mesh, strategy)
            model = model.to_empty(device="cpu")
            if mesh is None:
                base_of(model).tie_weights()
            model.train()
            optimizer = optimizer_of(strategy.optimizer, [p for p in model.parameters() if p.requires_grad])
            ids = torch.randint(0, 100, (micro_batch_size, sequence_length))
            forward = _autocast(model, autocast_dtype(strategy))
            phases = (0, 0, 0)
            for step in range(STEPS):
                progress(f"step {step + 1} of {STEPS}")
                phases = _step(forward, optimizer, ids, min(gradient_accumulation_steps, MICRO_BATCHES), live)
        allocator = CachingAllocator()
        allocator.run(live.trace)
    return Replayed(*phases, allocator.peak_allocated, allocator.peak_reserved)


def _autocast(model: Any, dtype: torch.dtype | None) -> Any:
    """As accelerate's `prepare_model` wraps it: autocast around forward, outputs in fp32."""
    if dtype is None:
        return model
    from accelerate.utils.operations import convert_outputs_to_fp32

    return convert_outputs_to_fp32(torch.autocast("cpu", dtype=dtype)(model.forward))


def _step(
    forward: Any, optimizer: torch.optim.Optimizer, ids: torch.Tensor, steps: int, live: LiveBytes
) -> tuple[int, int, int]:
    peak_forward = peak_backward = 0
    for _ in range(steps):
        live.mark()
        out = forward(input_ids=ids, labels=ids)
        loss = out.loss / steps
        peak_forward = max(peak_forward, live.peak)
        del out
        live.mark()
        loss.backward()
        del loss
        peak_backward = max(peak_backward, live.peak)
    live.mark()
    optimizer.step()
    peak_optimizer = live.peak
    optimizer.zero_grad(set_to_none=True)
    return peak_forward, peak_backward, peak_optimizer
