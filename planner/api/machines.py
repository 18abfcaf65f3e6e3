"""Provides `fit_machines`, which asks one question of many machines and ranks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planner.answers.machines import Placed, Placing, machine_plan_of, notes_on
from planner.extras import Progress
from planner.models import Model
from planner.problem.accumulation import accumulation_of
from planner.problem.problem import CatalogSource, Problem, catalog_of
from planner.problem.sites import ANY, Counts, Names, sites_of
from planner.records.axes import RequestError, several, whole
from planner.records.machines import MachineRanking
from planner.records.space import SpaceSource
from planner.search import Solver
from strategies import DEFAULT_MAX_ACCUMULATION, ContradictionError

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.option_types import Options


def fit_machines(
    model: str | Model,
    *,
    gpu: Names = ANY,
    gpus: Counts = None,
    nodes: Counts = 1,
    task: str | None = None,
    sequence_length: int | None = None,
    micro_batch_size: int | Sequence[int] = (),
    evaluation_batch_size: int | None = None,
    batching: str = "full",
    mean_length: int | None = None,
    outputs: str = "released",
    max_accumulation: int | None = None,
    global_batch_size: int | None = None,
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
        max_accumulation: Largest number of gradient accumulation steps per optimizer step.
        global_batch_size: Effective batch, in sequences, that every plan must have.
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
    loaded = catalog_of(catalog)
    sites = sites_of(gpu, loaded, gpus, nodes)
    if not sites:
        raise RequestError("the catalog has no such machine with so many GPUs", "planner machines lists all")
    if max_accumulation is not None and global_batch_size is not None:
        raise ContradictionError("max_accumulation and global_batch_size exclude each other", "give one of the two")
    steps = DEFAULT_MAX_ACCUMULATION if max_accumulation is None and global_batch_size is None else max_accumulation
    (first, number), *_ = sites
    values = {
        "gpus": first.gpus,
        "nodes": number,
        "task": task,
        "sequence_length": sequence_length,
        "headroom": headroom,
        "host_memory": host_memory,
        "loading": loading,
        "micro_batch_size": tuple(map(whole, several(micro_batch_size))),
        "evaluation_batch_size": evaluation_batch_size,
        "batching": batching,
        "mean_length": mean_length,
        "outputs": outputs,
        "max_accumulation": steps,
        "global_batch_size": global_batch_size,
    }
    problem = Problem(model, first.gpu, loaded, axes, values, progress, space)
    placed = sorted(Placing(problem, solver_of).all(sites), key=lambda p: (*p.candidate.rank, *p.cost))
    return _ranking(problem, placed, len(sites), whole(top))


def solver_of(problem: Problem) -> Solver:
    """Returns the solver of a request."""
    accumulation = accumulation_of(problem.request)
    return Solver(problem.memory, problem.budget_bytes, accumulation, problem.request.micro_batch_size)


def _ranking(problem: Problem, placed: Sequence[Placed], asked: int, top: int) -> MachineRanking:
    marked: dict[str, Any] = {}
    if placed:
        marked["smallest"] = min(placed, key=lambda p: p.size)
        marked["fastest"] = max(placed, key=lambda p: p.tokens_per_second)
        cheapest = min(placed, key=lambda p: p.cost)
        marked["cheapest"] = None if cheapest.usd_per_million_tokens is None else cheapest
    shown = [*placed[:top], *(p for p in marked.values() if p is not None)]
    plans = {id(p): machine_plan_of(p) for p in shown}
    first = placed[0].problem if placed else problem
    found: dict[str, Any] = {name: None if p is None else plans[id(p)] for name, p in marked.items()}
    return MachineRanking.model_construct(
        None,
        request=first.request,
        machines=tuple(plans[id(p)] for p in placed[:top]),
        **found,
        asked=asked,
        fitting=len(placed),
        unpriced=sum(p.usd_per_million_tokens is None for p in placed),
        notes=(*problem.model.notes, *notes_on(placed)),
    )
