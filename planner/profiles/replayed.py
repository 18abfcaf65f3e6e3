"""Replays a setting of a model as often as it takes to know its memory and work at any micro-batch size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from planner.profiles.asked import Asked, setting_of
from planner.profiles.records import Instant, Profile, Trained
from planner.replay import Workload, replay
from planner.replay.backend import CUDA_PATH
from planner.replay.extension import affine, resized
from planner.replay.extension.later import UnlikeError
from planner.replay.inspect import Weights, weights_of
from planner.replay.recording.trace import Phase
from planner.replay.step import MICRO_BATCHES, Look
from planner.replay.structure.source import Source
from planner.replay.workload import STEPS
from strategies import FullySharded, GradientSync, Strategy


def replayed(asked: Asked) -> Profile:
    """Replays a setting and returns its profile."""
    source, setting = asked.foreign.source, setting_of(asked.strategy)
    batch = 1 if asked.evaluates else None
    workload = Workload(
        asked.sequence_length,
        1,
        world_size=asked.ranks,
        has_flash=asked.has_flash,
        evaluation_batch_size=batch,
        target_length=asked.target_length,
    )
    found: list[Weights] = []
    step = _step(source, setting, workload, lambda model, runs: found.append(weights_of(model, runs, setting)))
    weights = found[-1]
    fixed, per_sample = step.work
    return Profile(
        parameters_bytes=step.parameters,
        inputs_bytes=step.resting_per_sample,
        only=_by_phase(step.only),
        first=_by_phase(step.first),
        later=_by_phase(step.later),
        last=_by_phase(step.last),
        evaluation=tuple(map(_instant, step.evaluation)),
        trained=tuple(Trained(**weight._asdict(), count=n) for weight, n in weights.trained.items()),
        gathered_bytes=weights.gathered_bytes,
        gathered_gradient_bytes=weights.gathered_gradient_bytes,
        half_flops_per_sample=per_sample.half_flops,
        fp32_flops_per_sample=per_sample.fp32_flops,
        bytes_per_sample=per_sample.num_bytes,
        fixed_bytes=fixed.num_bytes,
        again_half_flops_per_sample=per_sample.again_half_flops,
        again_fp32_flops_per_sample=per_sample.again_fp32_flops,
        kernels=fixed.kernels,
    )


def _step(source: Source, setting: Strategy, workload: Workload, look: Look) -> affine.Affine:
    """Returns a step at any micro-batch size.

    One replay of one micro-batch tells all of a model of transformers on one rank. Nobody knows what a user's own code
    does with many samples or in a second micro-batch; ranks that share parameters do more in a first one.
    """
    if setting.sharding.shards:  # FSDP prepares itself in the first step
        if isinstance(setting.sharding, FullySharded) and setting.sharding.gradient_sync is GradientSync.LAST:
            # Nothing is reduced before the last micro-batch: the only one, and one in the middle, are like no other.
            every = workload._replace(
                gradient_accumulation_steps=MICRO_BATCHES + 1, optimizer_steps=STEPS + 1, accumulates_last=True
            )
            return _of_samples(source, setting, every, look)
        return _of_samples(source, setting, workload._replace(gradient_accumulation_steps=MICRO_BATCHES), look)
    # Without optimizer states, the first step is like the second; NF4 moves a table of 1 KiB to the GPU in the first.
    # The plain optimizer updates in place, which allocates nothing.
    workload = workload._replace(optimizer_steps=STEPS - 1, updates=False)
    if not isinstance(source, str):
        try:
            return _of_samples(source, setting, workload._replace(marks_gradients=True), look)
        except UnlikeError:
            pass
    return _of_samples(source, setting, workload._replace(gradient_accumulation_steps=MICRO_BATCHES), look)


def _of_samples(source: Source, setting: Strategy, workload: Workload, look: Look) -> affine.Affine:
    """Returns a step at any micro-batch size, from one replay of a model of transformers or two of any other."""
    if not isinstance(source, str):
        exact = CUDA_PATH._replace(block_bytes=1)
        for samples in resized.PRIMES:
            trace = replay(source, setting, _of(workload, samples), backend=exact, look=look)
            if resized.is_distinct(trace, samples):
                return affine.of_one(trace, samples)
    sizes = affine.SMALL, affine.LARGE
    small, large = (replay(source, setting, _of(workload, size), look=look) for size in sizes)
    return affine.of_two(small, large)


def _of(workload: Workload, samples: int) -> Workload:
    """Returns the workload with a number of samples per micro-batch, and as many in an evaluated batch, if any."""
    evaluated = None if workload.evaluation_batch_size is None else samples
    return workload._replace(micro_batch_size=samples, evaluation_batch_size=evaluated)


def _by_phase(found: Mapping[Phase, Sequence[affine.Instant]]) -> dict[str, tuple[Instant, ...]]:
    return {phase.value: tuple(map(_instant, instants)) for phase, instants in found.items()}


def _instant(instant: affine.Instant) -> Instant:
    return Instant.model_validate(dict(zip(affine.CATEGORIES, instant.bytes_by_category, strict=True)))
