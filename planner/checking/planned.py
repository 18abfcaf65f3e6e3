"""Plans a run that was read: on the GPUs that are said, or on those that come into question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from hardware import GPU
from hardware.errors import PlannerError
from planner.api import estimate
from planner.checking.models import model_of
from planner.problem.problem import CatalogSource, catalog_of
from planner.readers.reading import Reading
from planner.readers.run import Run
from planner.records.check import OnGpus
from planner.records.result import EstimateResult
from strategies import OPTIONS, Attention, Batching, ContradictionError, Sharding, UnquantizedDtype

_UNMASKED = (Attention.FLASH_2, Attention.FLASH_3)
_UNSHARDED, _SHARDED = (1, 8), (2, 4, 8, 16, 32, 64)
"""Numbers of GPUs that are tried where nothing says how many there are."""
_WORKLOAD = (
    "sequence_length",
    "micro_batch_size",
    "gradient_accumulation_steps",
    "evaluation_batch_size",
    "batching",
    "precision_without_bf16",
    "global_batch_size",
)
"""Settings beside the options of techniques: arguments of `estimate`, what another GPU would make of the files, and a
global batch, which decides the accumulation once the number of GPUs is known."""
_PER_NODE = 8
_SHOWN = 3
"""How many of the smallest GPUs are named."""


class Planned(NamedTuple):
    """Holds the plan of a run and what else was tried."""

    plan: EstimateResult | None = None
    on_gpus: tuple[OnGpus, ...] = ()
    smallest: tuple[OnGpus, ...] = ()
    notes: tuple[str, ...] = ()


def planned(
    reading: Reading,
    run: Run,
    *,
    gpu: str | GPU | None,
    gpus: int | None,
    nodes: int | None,
    headroom: float,
    catalog: CatalogSource,
) -> Planned:
    """Returns the plan of a run; what the planner itself refuses is added to the reading, and there is no plan.

    Raises:
        PlannerError: The GPU is unknown, or the catalog has problems.
    """
    known = catalog_of(catalog)
    chosen = known.get(gpu) if isinstance(gpu, str) else gpu
    notes: list[str] = []
    try:
        model, note = model_of(reading, run)
        apart = run.recipe is not None and run.recipe.rows_stay_apart
        notes += note
        arguments = {**_arguments(reading, notes, apart=apart), "model": model, "headroom": headroom, "catalog": known}
        if run.recipe is not None and "version" not in reading.said:
            arguments["framework"] = run.recipe.framework
        counts = _counts(reading, gpus, nodes)
        if len(counts) > 1:
            notes.append("the files do not say how many GPUs there are: --gpus N does")
        if chosen is not None:
            plans = _plans(arguments, chosen, counts)
            plan = next((plan for plan in plans if plan.memory.fits), plans[-1])
            return Planned(plan, tuple(map(_on, plans)) if len(plans) > 1 else (), (), tuple(notes))
        return _smallest(arguments, known.gpus, counts, notes)
    except PlannerError as error:
        reading.refuse(f"{error.message}{f': {error.hint}' if error.hint else ''}")
        return Planned(notes=tuple(notes))


def _arguments(reading: Reading, notes: list[str], *, apart: bool) -> dict[str, Any]:
    """Returns the arguments of `estimate` that the reading makes, but for the model and the GPUs.

    Packed rows of a micro-batch become one row, unless they stay apart.
    """
    said = {word: reading.value(word) for word in OPTIONS if reading.value(word) is not None}
    said |= {word: reading.value(word) for word in _WORKLOAD if reading.value(word) is not None}
    if "sequence_length" not in said:
        raise ContradictionError("nothing says how long sequences are", "-- max_length=2048")
    rows = said["micro_batch_size"]
    if said["batching"] is Batching.PACKED and rows > 1 and not apart:
        length = said["sequence_length"]
        notes.append(f"packed: {rows} x {length:,} tokens of a micro-batch are one row of {rows * length:,}")
        said |= {"micro_batch_size": 1, "sequence_length": rows * length}
        if "global_batch_size" in said:
            said["global_batch_size"] = _passes(said["global_batch_size"], rows)
        if "evaluation_batch_size" in said:
            said["evaluation_batch_size"] = max(1, said["evaluation_batch_size"] // rows)
    if said["batching"] is not Batching.FULL and said.get("attention") in _UNMASKED:
        # Without padding within a batch, transformers passes flash-attn no mask, and packed rows only their lengths:
        # modeling_flash_attention_utils.py, `_flash_attention_forward`.
        said["batching"] = Batching.FULL
        notes.append(f"{said['attention']} is planned for full rows: a padded batch is copied without its padding")
    return said


def _counts(reading: Reading, gpus: int | None, nodes: int | None) -> list[tuple[int, int]]:
    """Returns the GPUs per node and the nodes that come into question."""
    gpus = reading.value("gpus") if gpus is None else gpus
    said_nodes = reading.value("nodes") if nodes is None else nodes
    if gpus is not None:
        return [(gpus, 1 if said_nodes is None else said_nodes)]
    if said_nodes is not None:
        return [(count, said_nodes) for count in _SHARDED if count <= _PER_NODE]
    counts = _UNSHARDED if reading.value("sharding") is Sharding.NO_SHARD else _SHARDED
    return [(min(count, _PER_NODE), max(1, count // _PER_NODE)) for count in counts]


def _passes(wanted: int, sequences: int) -> int:
    """Returns how many passes of so many sequences make a wanted global batch."""
    passes, rest = divmod(wanted, sequences)
    if rest or not passes:
        raise ContradictionError(
            f"a global batch of {wanted} is no multiple of {sequences} sequences a pass", "another number of GPUs"
        )
    return passes


def _estimate(arguments: dict[str, Any], gpu: GPU, gpus: int, nodes: int) -> EstimateResult:
    alone = gpus * nodes == 1
    if alone and arguments.get("sharding") is Sharding.NO_SHARD:
        arguments = {name: value for name, value in arguments.items() if name != "sharding"}
    arguments, otherwise = dict(arguments), arguments.get("precision_without_bf16")
    arguments.pop("precision_without_bf16", None)
    wanted = arguments.pop("global_batch_size", None)
    if wanted is not None:
        arguments["gradient_accumulation_steps"] = _passes(wanted, arguments["micro_batch_size"] * gpus * nodes)
    if otherwise is not None and not gpu.supports_bf16:
        arguments["precision"] = otherwise
        if "unquantized_dtype" in arguments:
            arguments["unquantized_dtype"] = UnquantizedDtype.FP16
    return estimate(**arguments, gpu=gpu, gpus=gpus, nodes=nodes)


def _smallest(
    arguments: dict[str, Any], known: Sequence[GPU], counts: Sequence[tuple[int, int]], notes: list[str]
) -> Planned:
    """Returns the plan on the smallest GPU that holds the run, or on the largest if none does.

    GPUs that cannot run it, such as those without bf16, are passed over.
    """
    by_size = sorted(known, key=lambda gpu: (gpu.memory_bytes, gpu.name))
    usual = (_PER_NODE, 1) if counts[0][0] > 1 and len(counts) > 1 else counts[0]
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


def _on(plan: EstimateResult) -> OnGpus:
    memory, request = plan.memory, plan.request
    return OnGpus(
        gpu=request.gpu,
        gpus=request.gpus * request.nodes,
        process_bytes=memory.process_bytes,
        budget_bytes=memory.budget_bytes,
        fits=memory.fits,
    )
