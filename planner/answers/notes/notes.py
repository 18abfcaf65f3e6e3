"""Writes the notes of an answer: techniques that are left out, risks, approximations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.answers.notes.choices import on_choices, on_large_batches, on_libraries
from planner.answers.notes.frameworks import notes_on_casts, notes_on_framework, notes_on_unquantized
from planner.answers.notes.gpus import on_attention, on_dtypes, on_time, on_unlisted
from planner.answers.notes.loading import on_loading
from planner.answers.notes.models import on_modeling, on_positions, on_task
from planner.models import Model
from planner.problem.batches import notes_on_batching
from planner.problem.problem import Problem
from strategies import Lora, Strategy, Zero


def notes_for(problem: Problem, strategies: Sequence[Strategy], largest_of_lora: int = 0) -> tuple[str, ...]:
    """Returns the notes on a request and the strategies that answer it, in sentences.

    Args:
        problem: The resolved request.
        strategies: Strategies of the plans that are shown.
        largest_of_lora: Largest effective batch of the plans with adapters, in samples.
    """
    adapts = any(isinstance(s.finetuning, Lora) for s in strategies)
    model, gpu = problem.model, problem.cluster.gpu
    return (
        *model.notes,
        *on_task(problem),
        *notes_on_framework(problem, strategies),
        *on_large_batches(largest_of_lora),
        *(model.adapter_notes if adapts else ()),
        *(notes_on_unquantized(problem, strategies) if adapts else ()),
        *notes_on_casts(strategies),
        *on_positions(problem),
        *_of_variants(problem),
        *on_unlisted(gpu),
        *on_dtypes(gpu),
        *(on_modeling(problem, model, strategies) if isinstance(model, Model) else ()),
        *(notes_on_batching(problem.request, strategies) if isinstance(model, Model) else ()),
        *on_attention(gpu, model.groups_heads, strategies),
        *on_libraries(gpu, strategies),
        *on_loading(problem, strategies),
        *_of_one_rank(problem, strategies),
        *on_choices(gpu, strategies),
        *on_time(gpu),
    )


def _of_one_rank(problem: Problem, strategies: Sequence[Strategy]) -> Iterator[str]:
    """Yields a note on DeepSpeed where it has no ranks to divide anything over, and moves nothing to the host."""
    if problem.cluster.world_size == 1 and any(
        isinstance(s.sharding, Zero) and not s.sharding.steps_on_host for s in strategies
    ):
        yield (
            "one GPU has nobody to divide anything with: DeepSpeed's copies in fp32 and its buckets are there all the "
            "same. --sharding no_shard does without them, and --offload moves them to the host."
        )


def _of_variants(problem: Problem) -> Iterator[str]:
    """Yields a note on which card a name without a size of memory stands for, and how its other variants are called."""
    found, *others = problem.catalog.variants(problem.gpu_asked) or (None,)
    if found is not None:
        also = f"; there is also {', '.join(others)}" if others else ""
        yield f"--gpu {problem.gpu_asked} is taken as {found}{also}."
