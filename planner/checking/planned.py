"""Plans a run that was read: on the GPUs that are said, or on those that come into question."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from hardware import GPU
from hardware.errors import PlannerError
from planner.answers.notes.models import beyond_positions
from planner.api import estimate
from planner.api.itemizing import itemize
from planner.checking.asked import PER_NODE, arguments_of, counts_of, lengths_of, on_cluster
from planner.checking.changes.trials import Cluster
from planner.checking.models import model_of, say_attention
from planner.checking.targets import say_targets
from planner.models import Model
from planner.problem.problem import CatalogSource, catalog_of
from planner.problem.site import Site
from planner.readers.documents.reading import Reading
from planner.readers.run import Run
from planner.records.asked.request import USUAL_HEADROOM
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
    reading: Reading,
    run: Run,
    *,
    gpu: str | GPU | None,
    gpus: int | None,
    nodes: int | None,
    headroom: float | None,
    catalog: CatalogSource,
) -> Planned:
    """Returns the plan of a run; what the planner itself refuses is added to the reading, and there is no plan.

    Raises:
        PlannerError: The GPU is unknown, or the catalog has problems.
    """
    known = catalog_of(catalog)
    site = None if gpu is None else Site.of(gpu, known, gpus)
    chosen, gpus = (site.gpu, site.gpus if site.machine else gpus) if site else (None, gpus)
    notes: list[str] = []
    cluster: Cluster | None = None
    try:
        model, note = model_of(reading, run)
        notes += note
        notes += say_targets(reading, model)
        say_attention(reading, model)
        if reading.refused:
            return Planned(notes=tuple(notes))
        fixed = {"model": model, "headroom": headroom, "catalog": known}
        lengths = lengths_of(reading, model)
        arguments = {**arguments_of(reading, run, notes, lengths[0]), **fixed}
        counts = counts_of(reading, gpus, nodes)
        if len(counts) > 1:
            notes.append("the files do not say how many GPUs there are: --gpus N does")
        if len(lengths) > 1:
            notes.append(f"the files do not say how long sequences are: {lengths[0]:,} tokens are planned")
        notes += _assumed(reading)
        if chosen is not None:
            cluster = Cluster(chosen, *counts[0], fixed, lengths[0])
            plans = _plans(arguments, chosen, counts)
            best = next((plan for plan in plans if plan.memory.fits), None) or min(plans, key=_peak)
            cluster = Cluster(chosen, best.request.gpus, best.request.nodes, fixed, lengths[0])
            found = Planned(best, tuple(map(_on, plans)) if len(plans) > 1 else (), (), tuple(notes), cluster)
        else:
            roomy = USUAL_HEADROOM if headroom is None else headroom
            found = _smallest({**arguments, "headroom": roomy}, known.gpus, counts, notes)
        plan = found.plan
        if plan is None:
            return found
        on = next(gpu for gpu in (chosen, *known.gpus) if gpu is not None and gpu.name == plan.request.gpu)
        if len(lengths) > 1:
            found = found._replace(on_gpus=(*found.on_gpus, *_of_lengths(run, plan, fixed, on, sorted(lengths))))
        if not plan.memory.fits:  # of all that were tried, the plan alone has ways out, which take long
            plan = estimate(**on_cluster(arguments, on, plan.request.gpus, plan.request.nodes))
        if isinstance(model, Model):
            plan = _of_samples(plan, model, reading.value("sequence_length") or lengths[0])
        return found._replace(plan=plan)
    except PlannerError as error:
        reading.refuse(f"{error.message}{f': {error.hint}' if error.hint else ''}")
        return Planned(notes=tuple(notes), cluster=cluster)


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


def _estimate(arguments: dict[str, Any], gpu: GPU, gpus: int, nodes: int) -> EstimateResult:
    return itemize(**on_cluster(arguments, gpu, gpus, nodes))


def _smallest(
    arguments: dict[str, Any], known: Sequence[GPU], counts: Sequence[tuple[int, int]], notes: list[str]
) -> Planned:
    """Returns the plan on the smallest GPU that holds the run, or on the largest if none does.

    GPUs that cannot run it, such as those without bf16, are passed over.
    """
    by_size = sorted(known, key=lambda gpu: (gpu.memory_bytes, gpu.name))
    usual = (PER_NODE, 1) if counts[0][0] > 1 and len(counts) > 1 else counts[0]
    found: list[EstimateResult] = []
    last: EstimateResult | None = None
    refused: PlannerError | None = None
    needed = 0
    for gpu in by_size:
        if gpu.memory_bytes < needed:
            continue
        try:
            last = _estimate(arguments, gpu, *usual)
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
    others = _plans(arguments, chosen, counts) if len(counts) > 1 else []
    return Planned(plan, tuple(map(_on, others)), tuple(map(_on, found)), tuple(notes))


def _plans(arguments: dict[str, Any], gpu: GPU, counts: Sequence[tuple[int, int]]) -> list[EstimateResult]:
    """Returns the plans of those numbers of GPUs on which the run can run; raises the first reason if there are none.

    An update in backward, for one, runs on a single GPU alone.
    """
    plans, errors = [], []
    for count in counts:
        try:
            plans.append(_estimate(arguments, gpu, *count))
        except PlannerError as error:
            errors.append(error)
    if not plans:
        raise errors[0]
    return plans


def _of_lengths(
    run: Run, plan: EstimateResult, fixed: Mapping[str, Any], gpu: GPU, lengths: Sequence[int]
) -> Iterator[OnGpus]:
    """Yields the peak of a run of other lengths, on the GPUs of its plan."""
    for length in lengths:
        arguments = {**arguments_of(run.reading, run, [], length), **fixed}
        with suppress(PlannerError):
            found = _estimate(arguments, gpu, plan.request.gpus, plan.request.nodes)
            yield _on(found).model_copy(update={"sequence_length": length})


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
