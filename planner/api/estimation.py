"""Provides `estimate`, which itemizes one configuration."""

from __future__ import annotations

from typing import Unpack

from hardware import GPU
from planner.api.itemizing import itemized
from planner.models import Model
from planner.problem.arguments import ConfigurationArguments
from planner.problem.questions import question
from planner.problem.resolve import resolve_asked
from planner.records.result import EstimateResult


@question(ConfigurationArguments)
def estimate(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    global_batch_size: int | None = None,
    **asked: Unpack[ConfigurationArguments],
) -> EstimateResult:
    """Itemizes the memory and time of one configuration, whether it fits or not.

    Args:
        model: The model, as for `fit`.
        gpu: Name or alias of a GPU or a machine in the catalog, or a `GPU`, as for `fit`.
        gpus: GPUs per node, by default as for `fit`.
        nodes: Number of nodes.
        global_batch_size: Effective batch, in sequences, in place of the passes, which it decides.
        asked: Options of `SearchSpace` by name, with one value each. By default fine-tuning is full, several GPUs shard
            fully (with qlora not at all), and every other option has the first value of the default space: mixed
            precision where the GPU supports it, AdamW, no checkpointing.

    Returns:
        The plan, with its memory by category and by moment of the step in `memory`, its time in `time`, notes, and if
        it does not fit, `ways` out.

    Raises:
        ContradictionError: An option has several values, or the GPU, the model or another choice excludes a choice.
        PlannerError: Any other reason for which `fit` raises.
    """
    problem, solver, candidate = resolve_asked(model, gpu, gpus, nodes, asked, global_batch_size=global_batch_size)
    result = itemized(problem, solver, candidate)
    if result.memory.fits:
        return result
    from planner.advice.shortfall import ways_of_one  # only where it is needed

    return result.model_copy(update={"ways": ways_of_one(problem, solver, candidate, "estimate")})
