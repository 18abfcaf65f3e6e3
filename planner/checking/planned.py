"""Plans a run that was read: on the GPUs that are said, or on those that come into question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from hardware import GPU
from hardware.errors import PlannerError
from planner.answers.notes.models import beyond_positions
from planner.checking.changes.trials import Cluster
from planner.checking.models import model_of, say_attention
from planner.checking.segments import on_segments
from planner.checking.targets import say_targets
from planner.checking.workload import Count, Workload
from planner.models import Foreign, Model
from planner.problem.problem import CatalogSource, catalog_of
from planner.problem.site import Site
from planner.readers.documents.reading import Reading
from planner.readers.run import Run
from planner.records.asked.request import left_free
from planner.records.check import OnGpus
from planner.records.result import EstimateResult
from strategies import ContradictionError

_SHOWN = 3
"""How many of the smallest GPUs are named."""

_DECIDING = {
    "sequence_length": "sequences of {:,} tokens",
    "target_length": "targets of {:,} tokens",
    "micro_batch_size": "a micro-batch of {}",
    "checkpointing": "checkpointing {}",
}
"""What decides how large activations are, in words."""


class Planned(NamedTuple):
    """Holds the plan of a run and what else was tried."""

    plan: EstimateResult | None = None
    on_gpus: tuple[OnGpus, ...] = ()
    smallest: tuple[OnGpus, ...] = ()
    notes: tuple[str, ...] = ()
    cluster: Cluster | None = None
    """On what it is planned, or refused by its rules, where a GPU is named."""


def planned(
    run: Run,
    *,
    gpu: str | GPU | None,
    gpus: int | None,
    nodes: int | None,
    headroom: float | None,
    catalog: CatalogSource,
) -> Planned:
    """Returns the plan of a run; what the planner itself refuses is added to its reading, and there is no plan.

    Raises:
        PlannerError: The GPU is unknown, or the catalog has problems.
    """
    known = catalog_of(catalog)
    site = None if gpu is None else Site.of(gpu, known, gpus)
    chosen, gpus = (site.gpu, site.gpus if site.machine else gpus) if site else (None, gpus)
    notes: list[str] = []
    cluster: Cluster | None = None
    try:
        model = _model(run, notes)
        if run.reading.refused:
            return Planned(notes=tuple(notes))
        if chosen is None:
            headroom = left_free(headroom)  # a GPU that is proposed has some room
        workload = Workload.of(run, model, gpus, nodes, notes, headroom=headroom, catalog=known)
        notes += _assumed(run.reading)
        if chosen is None:
            found, on = _smallest(workload, known.gpus)
        else:
            cluster = workload.cluster(chosen, *workload.counts[0])
            found, on = _best(workload, chosen)
            cluster = workload.cluster(chosen, *_count(found.plan))
        segments = on_segments(workload, found.plan, on)
        return Planned(*_finished(found, workload, on), notes=(*segments, *notes), cluster=cluster)
    except PlannerError as error:
        run.reading.refuse(f"{error.message}{f': {error.hint}' if error.hint else ''}")
        return Planned(notes=tuple(notes), cluster=cluster)


def _model(run: Run, notes: list[str]) -> Model | Foreign:
    """Returns the model of a run, and adds to its reading what follows from the model."""
    model, note = model_of(run.reading, run)
    notes += note
    notes += say_targets(run.reading, model)
    say_attention(run.reading, model)
    return model


class _Found(NamedTuple):
    """Holds a plan, and those on other GPUs that were made on the way to it."""

    plan: EstimateResult
    on_gpus: tuple[OnGpus, ...] = ()
    smallest: tuple[OnGpus, ...] = ()


def _best(workload: Workload, gpu: GPU) -> tuple[_Found, GPU]:
    """Returns the plan on the fewest of a GPU that hold the run, or on those that lack least if none do."""
    plans = workload.on_each_count(gpu)
    best = next((plan for plan in plans if plan.memory.fits), None) or min(plans, key=_peak)
    return _Found(best, tuple(map(_on, plans)) if len(plans) > 1 else ()), gpu


def _smallest(workload: Workload, known: Sequence[GPU]) -> tuple[_Found, GPU]:
    """Returns the plan on the smallest GPU that holds the run, or on the largest if none does.

    GPUs that cannot run it, such as those without bf16, are passed over.
    """
    by_size = sorted(known, key=lambda gpu: (gpu.memory_bytes, gpu.name))
    found: list[EstimateResult] = []
    last: EstimateResult | None = None
    refused: PlannerError | None = None
    needed = 0
    for gpu in by_size:
        if gpu.memory_bytes < needed:
            continue
        try:
            last = workload.on(gpu, workload.usual_count)
        except PlannerError as error:
            refused = error
            continue
        # What a process takes depends on the GPU in its context and workspaces alone: less than a tenth.
        needed = round(last.memory.process_bytes * 0.9)
        if last.memory.fits and all(last.request.gpu_memory_bytes > p.request.gpu_memory_bytes for p in found):
            found.append(last)
        if len(found) == _SHOWN:
            break
    if last is None:
        raise refused or ContradictionError("the catalog has no GPU", "--catalog my.yaml")
    plan = found[0] if found else last
    chosen = next(gpu for gpu in by_size if gpu.name == plan.request.gpu)
    others = workload.on_each_count(chosen) if len(workload.counts) > 1 else []
    return _Found(plan, tuple(map(_on, others)), tuple(map(_on, found))), chosen


def _finished(found: _Found, workload: Workload, gpu: GPU) -> _Found:
    """Returns a plan with what is said of it alone, of all that were tried: other lengths, ways out and notes."""
    plan, count = found.plan, _count(found.plan)
    lengths = (
        _on(other).model_copy(update={"sequence_length": length})
        for length, other in workload.of_other_lengths(gpu, count)
    )
    found = found._replace(on_gpus=(*found.on_gpus, *lengths))
    if not plan.memory.fits:
        plan = workload.with_ways_out(gpu, count)
    if isinstance(workload.model, Model):
        plan = _of_samples(plan, workload.model, workload.length)
    return found._replace(plan=plan)


def _count(plan: EstimateResult) -> Count:
    return plan.request.gpus, plan.request.nodes


def _assumed(reading: Reading) -> Iterator[str]:
    """Yields a note on what decides activations and nothing says: defaults of the program."""
    said = {word: reading.said[word] for word in _DECIDING if word in reading.said}
    found = [_DECIDING[word].format(each.value) for word, each in said.items() if each.place is None and each.why]
    if found:
        yield f"assumed, as no file or argument says it: {', '.join(found)}"


def _of_samples(plan: EstimateResult, model: Model, length: int) -> EstimateResult:
    """Returns a plan whose note on positions is on the longest sample: in a row of several, positions begin anew."""
    of_row = set(beyond_positions(model, plan.request.sequence_length))
    of_samples = tuple(beyond_positions(model, length))
    notes = (*of_samples, *(note for note in plan.notes if note not in of_row)) if of_row else plan.notes
    return plan.model_copy(update={"notes": notes})


def _peak(plan: EstimateResult) -> int:
    """Returns the bytes of one GPU: of replicas, which take more than one GPU alone, no number makes a run fit."""
    return plan.memory.process_bytes


def _on(plan: EstimateResult) -> OnGpus:
    memory, request = plan.memory, plan.request
    return OnGpus(
        gpu=request.gpu,
        gpus=request.gpus * request.nodes,
        process_bytes=memory.process_bytes,
        budget_bytes=memory.budget_bytes,
        fits=memory.fits,
    )
