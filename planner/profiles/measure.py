"""Replays a model to find out what it is, and what memory and work a setting of it takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hardware import PlannerError
from planner.extras import Progress, needed_for
from planner.models.foreign import Foreign
from planner.profiles import store
from planner.profiles.records import Instant, Introduction, Profile, Refusal, Trained
from planner.profiles.store import Damaged
from strategies import PLAIN, FullySharded, GradientSync, Strategy

if TYPE_CHECKING:  # torch is imported only when there is something to replay
    from planner.replay.extension.affine import Affine
    from planner.replay.extension.affine import Instant as Solved
    from planner.replay.recording.trace import Phase
    from planner.replay.step import Look
    from planner.replay.structure.source import Source
    from planner.replay.workload import Workload


FEATURE = "a model that replays plan"
"""What needs the `verify` extra, as an error about a missing package calls it."""


def setting_of(strategy: Strategy) -> Strategy:
    """Returns the strategy whose profile serves this one: the same with a plain optimizer and allocator.

    The bytes of optimizer states and the allocator's reserve are added to those of the profile.
    """
    return strategy._replace(optimizer=PLAIN.optimizer, allocator=PLAIN.allocator)


def introduce(foreign: Foreign, progress: Progress, damaged: Damaged) -> Introduction:
    """Finds out what a model is, or reads what was found out before.

    Args:
        foreign: The model.
        progress: Told what takes long.
        damaged: Called with the file of a kept record that is not as it was written; the record is made again.

    Raises:
        PlannerError: The model cannot be built.
    """
    key = ("introduction", foreign.digest())
    if (known := store.read(Introduction, *key, damaged=damaged)) is not None:
        return known
    progress(f"building {foreign.name}")
    with needed_for(FEATURE, "verify"):
        from planner.replay.inspect import facts_of
        from planner.replay.structure.model_code import failure
    try:
        introduction = Introduction(**facts_of(foreign.source, PLAIN)._asdict())
    except PlannerError:
        raise
    except Exception as error:  # anything that transformers objects to in a configuration
        raise failure(foreign.name, error) from error
    store.keep(introduction, *key)
    return introduction


Key = tuple[object, ...]
"""Everything that a record depends on."""


class Asked(NamedTuple):
    """Names a profile.

    Attributes:
        foreign: The model.
        strategy: The strategy; its optimizer and allocator are ignored.
        sequence_length: Tokens per sample.
        world_size: Number of ranks.
        has_flash: Whether the GPU has SDPA's flash kernel.
        evaluates: Whether an evaluation follows the step.
        target_length: Tokens of the decoder's sequence; None for as many as the source has.
    """

    foreign: Foreign
    strategy: Strategy
    sequence_length: int
    world_size: int
    has_flash: bool = True
    evaluates: bool = False
    target_length: int | None = None

    @property
    def ranks(self) -> int:
        """Returns the number of ranks that the replay is of: one of many that hold the same, or all of them."""
        return self.world_size if self.strategy.sharding.shards else 1

    @property
    def key(self) -> Key:
        """Returns what it is kept under."""
        setting = setting_of(self.strategy)
        key: Key = "profile", self.foreign.digest(), setting, self.sequence_length, self.ranks, self.has_flash
        key = (*key, "evaluates") if self.evaluates else key
        return key if self.target_length in (None, self.sequence_length) else (*key, "target", self.target_length)

    def __str__(self) -> str:
        """Spells the setting for the user who waits for its replay."""
        said = self.strategy.to_options()
        parts = (said["finetuning"], said["precision"], f"checkpointing {said['checkpointing']}", said["sharding"])
        return ", ".join(map(str, parts))


def kept(asked: Asked, damaged: Damaged) -> Profile | Refusal | None:
    """Returns the profile that is kept on disk, or the kept refusal; None if there is neither."""
    key = asked.key
    return store.read(Profile, *key, damaged=damaged) or store.read(Refusal, *key, damaged=damaged)


def profile(asked: Asked, progress: Progress, damaged: Damaged) -> Profile | Refusal:
    """Returns the profile of a strategy's setting, read from disk or replayed now.

    Args:
        asked: What the profile is of.
        progress: Told what takes long.
        damaged: Called with the file of a kept record that is not as it was written; the record is made again.

    Returns:
        The profile; or a refusal that says why the model cannot be trained under this setting.

    Raises:
        PlannerError: The model's own code fails (`ModelCodeError`), or the `verify` extra is not installed.
    """
    if known := kept(asked, damaged):
        return known
    progress(f"{asked.foreign.name}, {asked}")
    return measured(asked)


def measured(asked: Asked) -> Profile | Refusal:
    """Replays a setting, and keeps what is found on disk.

    Raises:
        PlannerError: The model's own code fails (`ModelCodeError`), or the `verify` extra is not installed.
    """
    with needed_for(FEATURE, "verify"):
        from planner.replay.structure.model_code import ModelCodeError
    setting = setting_of(asked.strategy)
    found: Profile | Refusal
    try:
        found = _measured(asked)
    except ModelCodeError:
        raise
    except PlannerError as error:
        found = Refusal(reason=str(error))
    except Exception as error:  # anything that transformers, PEFT or the model itself objects to
        found = Refusal(reason=f"{setting.finetuning.method} fails with {' '.join(str(error).split())[:160]}")
    store.keep(found, *asked.key)
    return found


def _measured(asked: Asked) -> Profile:
    """Replays a setting and returns its profile."""
    from planner.replay import Workload
    from planner.replay.inspect import Weights, weights_of

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
    step = _replayed(source, setting, workload, lambda model, runs: found.append(weights_of(model, runs, setting)))
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


def _replayed(source: Source, setting: Strategy, workload: Workload, look: Look) -> Affine:
    """Returns a step at any micro-batch size.

    One replay of one micro-batch tells all of a model of transformers on one rank. Nobody knows what a user's own code
    does with many samples or in a second micro-batch; ranks that share parameters do more in a first one.
    """
    from planner.replay.extension.later import UnlikeError
    from planner.replay.step import MICRO_BATCHES
    from planner.replay.workload import STEPS

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


def _of_samples(source: Source, setting: Strategy, workload: Workload, look: Look) -> Affine:
    """Returns a step at any micro-batch size, from one replay of a model of transformers or two of any other."""
    from planner.replay import replay
    from planner.replay.backend import CUDA_PATH
    from planner.replay.extension import affine
    from planner.replay.extension.resized import PRIMES, is_distinct

    if not isinstance(source, str):
        exact = CUDA_PATH._replace(block_bytes=1)
        for samples in PRIMES:
            trace = replay(source, setting, _of(workload, samples), backend=exact, look=look)
            if is_distinct(trace, samples):
                return affine.of_one(trace, samples)
    sizes = affine.SMALL, affine.LARGE
    small, large = (replay(source, setting, _of(workload, size), look=look) for size in sizes)
    return affine.of_two(small, large)


def _of(workload: Workload, samples: int) -> Workload:
    """Returns the workload with a number of samples per micro-batch, and as many in an evaluated batch, if any."""
    evaluated = None if workload.evaluation_batch_size is None else samples
    return workload._replace(micro_batch_size=samples, evaluation_batch_size=evaluated)


def _by_phase(found: Mapping[Phase, Sequence[Solved]]) -> dict[str, tuple[Instant, ...]]:
    return {phase.value: tuple(map(_instant, instants)) for phase, instants in found.items()}


def _instant(instant: Solved) -> Instant:
    from planner.replay.extension.affine import CATEGORIES

    return Instant.model_validate(dict(zip(CATEGORIES, instant.bytes_by_category, strict=True)))
