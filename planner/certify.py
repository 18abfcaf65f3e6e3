"""Certifies a plan without a GPU: a replay of its real training step beside the memory model's account."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hardware import GPU, PlannerError
from planner.answer import plan_of
from planner.models import Model
from planner.notes import notes_for
from planner.plan import PhaseBytes, Verification
from planner.question import CatalogSource, Question
from planner.search import Solver
from strategies import ContradictionError, Optimizer, Strategy, UpTo


class MissingExtraError(PlannerError):
    """A feature whose libraries are not installed."""


PHASES = {
    "forward": ("forward", "end_of_forward"),
    "backward": ("start_of_backward", "block_backward", "embedding_backward"),
    "optimizer": ("optimizer_step",),
}


def verify(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int = 1,
    nodes: int = 1,
    sequence_length: int | None = None,
    micro_batch_size: int = 1,
    gradient_accumulation_steps: int = 1,
    headroom: float = 0.05,
    catalog: CatalogSource = None,
    progress: Callable[[str], None] = lambda _: None,
    **axes: Any,
) -> Verification:
    """Replays the training step of one configuration and compares; arguments are those of `estimate`.

    The real transformers model, PEFT adapters, accelerate wrappers, FSDP2 and optimizer run on fake tensors: nothing is
    allocated. bitsandbytes layers are replaced by a stand-in of the same bytes.

    Raises:
        PlannerError: as `estimate`; a missing extra; a choice that cannot be replayed.
    """
    values = {
        "gpus": gpus,
        "nodes": nodes,
        "sequence_length": sequence_length,
        "headroom": headroom,
        "micro_batch_size": (micro_batch_size,),
        "gradient_accumulation_steps": gradient_accumulation_steps,
        "max_accumulation": None,
    }
    question = Question(model, gpu, catalog, axes, values)
    strategy = question.strategy()
    _check(strategy, question)
    try:
        from planner.replay import replay
    except ImportError as error:
        raise MissingExtraError(f"a replay needs {error.name}", "pip install 'training-planner[verify]'") from None
    solver = Solver(question.memory, question.budget_bytes, UpTo(gradient_accumulation_steps))
    candidate = solver.candidate(strategy, micro_batch_size, gradient_accumulation_steps)
    plan, outside = plan_of(candidate, solver), candidate.footprint.outside
    start = time.perf_counter()
    replayed = replay(
        question.model.architecture.config(),
        strategy,
        world_size=question.cluster.world_size,
        sequence_length=question.request.sequence_length,
        micro_batch_size=micro_batch_size,
        gradient_accumulation_steps=gradient_accumulation_steps,
        progress=progress,
    )
    seconds = time.perf_counter() - start
    buckets = candidate.footprint.persistent.communication
    beside = outside.workspace_bytes + buckets
    tensors = {
        "forward": replayed.forward_bytes,
        "backward": replayed.backward_bytes,
        "optimizer": replayed.optimizer_bytes,
    }
    phases = {}
    for phase, moments in PHASES.items():
        modelled = max(plan.memory.moments[moment] for moment in moments)
        phases[phase] = _compared(tensors[phase] + beside, modelled)
    allocated, reserved = replayed.block_bytes + beside, replayed.reserved_bytes + beside
    process = outside.process_bytes(reserved)
    return Verification.model_construct(
        schema_version=1,
        request=question.request,
        plan=plan,
        phases=phases,
        allocated_bytes=allocated,
        reserved_bytes=reserved,
        process_bytes=process,
        fits=process <= question.budget_bytes,
        difference=plan.memory.allocated_bytes / allocated - 1,
        seconds=seconds,
        notes=notes_for(question, [strategy]),
    )


def _compared(replay_bytes: int, model_bytes: int) -> PhaseBytes:
    difference = model_bytes / replay_bytes - 1
    return PhaseBytes.model_construct(replay_bytes=replay_bytes, model_bytes=model_bytes, difference=difference)


def _check(strategy: Strategy, question: Question) -> None:
    """Raises ContradictionError for what a replay cannot run."""
    if strategy.optimizer is Optimizer.ADAMW_8BIT:
        raise ContradictionError(
            "adamw-8bit cannot be replayed: bitsandbytes' optimizer has no states without its GPU kernels",
            "--optimizer adamw replays the same forward and backward",
        )
