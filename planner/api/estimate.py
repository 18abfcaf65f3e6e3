"""Provides `estimate`, which itemizes one configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware import GPU
from planner.answers.notes.notes import notes_for
from planner.answers.plans import plan_of
from planner.extras import Progress
from planner.models import Model
from planner.problem.problem import CatalogSource
from planner.problem.resolve import resolve_one, workload_of
from planner.records.result import EstimateResult

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.asked.option_types import Options


def estimate(
    model: str | Model,
    *,
    gpu: str | GPU,
    gpus: int | None = None,
    nodes: int = 1,
    task: str | None = None,
    sequence_length: int | str | None = None,
    micro_batch_size: int = 1,
    gradient_accumulation_steps: int = 1,
    global_batch_size: int | None = None,
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | str | None = None,
    outputs: str = "released",
    headroom: float = 0.05,
    host_memory: int | str | None = None,
    loading: str = "auto",
    catalog: CatalogSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> EstimateResult:
    """Itemizes the memory and time of one configuration, whether it fits or not.

    Args:
        model: The model, as for `fit`.
        gpu: Name or alias of a GPU or a machine in the catalog, or a `GPU`, as for `fit`.
        gpus: GPUs per node, by default as for `fit`.
        nodes: Number of nodes.
        task: What the model is trained to do, by default as for `fit`.
        sequence_length: Tokens per sequence, by default as for `fit`.
        micro_batch_size: Sequences per GPU and forward pass.
        gradient_accumulation_steps: Forward and backward passes per optimizer step.
        global_batch_size: Effective batch, in sequences, in place of the passes, which it decides.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps; None for no evaluation.
        batching: `full`, `padded` or `packed`, as for `fit`.
        mean_length: Tokens per sample on average, if samples are padded or packed.
        outputs: `released`, `kept` or `kept-in-step`, as for `fit`.
        headroom: Share of the GPU's usable bytes that is left free, from 0 to below 1.
        host_memory: Host memory of one node, as for `fit`.
        loading: `auto`, `every-rank` or `rank-0`, as for `fit`.
        catalog: A `Catalog`, or the path of a YAML file that adds GPUs to the built-in catalog.
        progress: Function that is called with a line of text about what takes long.
        axes: Options of `SearchSpace` by name, with one value each. By default fine-tuning is full, several GPUs shard
            fully (with qlora not at all), and every other option has the first value of the default space: mixed
            precision where the GPU supports it, AdamW, no checkpointing.

    Returns:
        The plan, with its memory by category and by moment of the step in `memory`, its time in `time`, notes, and if
        it does not fit, `ways` out.

    Raises:
        ContradictionError: An option has several values, or the GPU, the model or another choice excludes a choice.
        PlannerError: Any other reason for which `fit` raises.
    """
    given = dict(locals())
    workload = {**workload_of(given), "global_batch_size": global_batch_size}
    problem, solver, candidate = resolve_one(
        model, gpu, catalog, axes, workload, micro_batch_size, gradient_accumulation_steps, progress
    )
    plan, notes = plan_of(candidate, solver, serves=True), notes_for(problem, [candidate.strategy])
    if plan.memory.fits:
        return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes)
    from planner.advice.shortfall import ways_of_one  # only where it is needed

    ways = ways_of_one(problem, solver, candidate, "estimate")
    return EstimateResult.model_construct(**dict(plan), request=problem.request, notes=notes, ways=ways)
