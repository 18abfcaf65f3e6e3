"""Provides `fit_machines`, which asks one question of many machines and ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from planner.answers.machine_ranking import ranking_of
from planner.answers.machines import Placing
from planner.extras import Progress
from planner.models import Model
from planner.problem.asked import fields_of, number_of, solver_of
from planner.problem.problem import CatalogSource, Problem, catalog_of
from planner.problem.sites import ANY, Counts, Names, sites_of
from planner.records.asked.axes import RequestError
from planner.records.asked.space import SpaceSource
from planner.records.machines import MachineRanking
from strategies import Objective

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.asked.option_types import Options


def fit_machines(
    model: str | Model,
    *,
    gpu: Names = ANY,
    gpus: Counts = None,
    nodes: Counts = 1,
    task: str | None = None,
    sequence_length: int | str | None = None,
    micro_batch_size: int | Sequence[int] = (),
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | str | None = None,
    outputs: str = "released",
    objective: str | None = None,
    max_accumulation: int | None = None,
    gradient_accumulation_steps: int | None = None,
    global_batch_size: int | None = None,
    tokens_per_step: int | str | None = None,
    tokens: int | str | None = None,
    samples: int | str | None = None,
    epochs: float | None = None,
    deadline: float | str | None = None,
    budget: float | None = None,
    price: float | None = None,
    headroom: float = 0.05,
    host_memory: int | str | None = None,
    loading: str = "auto",
    top: int = 10,
    catalog: CatalogSource = None,
    space: SpaceSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> MachineRanking:
    """Ranks machines by the best plan that each of them has.

    Args:
        model: The model, as for `fit`.
        gpu: Names of GPUs and machines, several in a sequence or with commas between them; `any` for all GPUs of the
            catalog, `machines` for all machines, the name of a provider such as `AWS` for all of its machines.
        gpus: GPUs per node, one or several numbers; one for GPUs if None. Machines of a group that have another number
            are left out.
        nodes: Numbers of nodes. More than one are of the largest number of GPUs only.
        task: As for `fit`, as all that follows.
        sequence_length: Tokens per sequence.
        micro_batch_size: Allowed numbers of sequences per GPU and forward pass.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps.
        batching: `full`, `padded` or `packed`.
        mean_length: Tokens per sample on average, if samples are padded or packed.
        outputs: `released`, `kept` or `kept-in-step`.
        objective: What plans and machines are ordered by: `batch`, `throughput`, `cost`, where machines without a known
            price are left out, or `memory`, the smallest machine. Unless given it is `cost` where a run has a budget,
            and else `batch`.
        max_accumulation: Largest number of gradient accumulation steps per optimizer step.
        gradient_accumulation_steps: Number of accumulation steps that every plan must have.
        global_batch_size: Effective batch, in sequences; machines whose GPUs cannot divide it are left out.
        tokens_per_step: Tokens of all GPUs per optimizer step, in place of `global_batch_size`.
        tokens: Tokens of a run, or text such as `1.5B`: machines then say how long it takes and what it costs.
        samples: Samples of a run, in place of `tokens`, or text such as `10M`.
        epochs: How often the run goes over these.
        deadline: Most seconds of the run, or text such as `24h`; machines that take longer are left out.
        budget: Most US dollars of the run.
        price: Price of one GPU for an hour, in US dollars; by default that of the catalog.
        headroom: Share of the GPU's usable bytes that is left free.
        host_memory: Host memory of one node; by default the machine's, or what is usual with its GPUs.
        loading: `auto`, `every-rank` or `rank-0`.
        top: Number of machines to return.
        catalog: A `Catalog`, or the path of a YAML file that adds to the built-in one.
        space: A `SearchSpace`, or the path of a YAML file that holds one.
        progress: Function that is called with a line of text about what takes long.
        axes: Options of `SearchSpace` by name.

    Returns:
        The `top` best machines with their best plans, and the smallest, the fastest and the cheapest one.

    Raises:
        PlannerError: For the same reasons as `fit`, or because the catalog has none of the machines.
    """
    given = dict(locals())
    if objective is None and budget is not None:
        given["objective"] = Objective.COST
    loaded = catalog_of(catalog)
    sites = sites_of(gpu, loaded, gpus, nodes)
    if not sites:
        raise RequestError("the catalog has no such machine with so many GPUs", "planner machines lists all")
    (first, number), *_ = sites
    fields = fields_of({**given, "gpus": first.gpus, "nodes": number})
    problem = Problem(model, first.gpu, loaded, axes, fields, progress, space)
    placing = Placing(problem, solver_of)
    found, file = placing.all(sites), str(catalog) if isinstance(catalog, str | Path) else None
    return ranking_of(problem, found, placing, len(sites), number_of("top", top), file)
