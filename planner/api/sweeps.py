"""Provides `sweep`, which asks one question of many models, machines and lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from planner.extras import Progress
from planner.models import registry_models
from planner.problem.asked import number_of
from planner.problem.problem import CatalogSource, catalog_of
from planner.problem.sites import ANY, Counts, Names, sites_of
from planner.records.asked.amounts import parse_length
from planner.records.asked.axes import RequestError, several
from planner.records.asked.space import SpaceSource
from planner.records.sweep import SweepResult
from planner.sweeps.run import run
from planner.sweeps.unit import Asked

if TYPE_CHECKING:
    from typing import Unpack

    from planner.records.asked.option_types import Options

ALL = "all"
"""Name that stands for all models of the registry that a family describes."""
_APART = (
    "models",
    "gpu",
    "gpus",
    "nodes",
    "sequence_length",
    "output",
    "jobs",
    "catalog",
    "space",
    "progress",
    "axes",
)


def sweep(
    models: str | Sequence[str],
    *,
    gpu: Names = ANY,
    gpus: Counts = None,
    nodes: Counts = 1,
    sequence_length: int | str | Sequence[int | str] = (),
    output: str | Path | None = None,
    jobs: int | None = None,
    task: str | None = None,
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
    catalog: CatalogSource = None,
    space: SpaceSource = None,
    progress: Progress = lambda _: None,
    **axes: Unpack[Options],
) -> SweepResult:
    """Plans models on machines at several lengths, and returns the best plan of each fine-tuning method everywhere.

    Args:
        models: Names of models, as for `fit`, one or several; `all` for all of the registry that a family describes.
        gpu: GPUs and machines, as for `fit_machines`.
        gpus: GPUs per node, one or several numbers.
        nodes: Numbers of nodes.
        sequence_length: Tokens per sequence, one or several; by default what is usual with each model.
        output: File that gets the rows, `.csv` or `.parquet` (needs the extra `parquet`). It is written as rows come,
            and a file that has some is completed.
        jobs: Processes; by default as many as there are cores.
        task: As for `fit`, as all that follows.
        micro_batch_size: Allowed numbers of sequences per GPU and forward pass.
        evaluation_batch_size: Samples that each GPU evaluates at once between steps.
        batching: `full`, `padded` or `packed`.
        mean_length: Tokens per sample on average, if samples are padded or packed.
        outputs: `released`, `kept` or `kept-in-step`.
        objective: What plans are ordered by; `batch` unless given.
        max_accumulation: Largest number of gradient accumulation steps per optimizer step.
        gradient_accumulation_steps: Number of accumulation steps that every plan must have.
        global_batch_size: Effective batch, in sequences, that every plan must have.
        tokens_per_step: Tokens of all GPUs per optimizer step, in place of `global_batch_size`.
        tokens: Tokens of a run.
        samples: Samples of a run, in place of `tokens`.
        epochs: How often the run goes over these.
        deadline: Most seconds of the run, or text such as `24h`.
        budget: Most US dollars of the run.
        price: Price of one GPU for an hour, in US dollars; by default that of the catalog.
        headroom: Share of the GPU's usable bytes that is left free.
        host_memory: Host memory of one node; by default the machine's, or what is usual with its GPUs.
        loading: `auto`, `every-rank` or `rank-0`.
        catalog: A `Catalog`, or the path of a YAML file that adds to the built-in one.
        space: A `SearchSpace`, or the path of a YAML file that holds one.
        progress: Function that is called with a line of text after each model and length.
        axes: Options of `SearchSpace` by name.

    Returns:
        A row for each model, machine, length and method. A model that cannot be planned has one row with the reason.

    Raises:
        SweepFileError: The file holds something else, or its name says no format.
        MissingExtraError: The file is to be Parquet, and pyarrow is not installed.
        PlannerError: The catalog has none of the machines, or an argument makes no sense.
    """
    given = {name: value for name, value in locals().items() if name not in _APART}
    loaded = catalog_of(catalog)
    sites = sites_of(gpu, loaded, gpus, nodes)
    names = [name for model in ([models] if isinstance(models, str) else models) for name in _named(model)]
    if not sites or not names:
        raise RequestError("a sweep is of at least one model and one machine", "planner machines lists all")
    lengths = tuple(parse_length("sequence_length", length) for length in several(sequence_length)) or (None,)
    units = [(name, length) for name in dict.fromkeys(names) for length in lengths]
    asked = Asked(loaded.gpus, loaded.machines, tuple(sites), given, dict(axes), space)
    path = None if output is None else Path(output)
    return run(asked, units, path, None if jobs is None else number_of("jobs", jobs), progress)


def _named(model: str) -> list[str]:
    return [found.name for found in registry_models()] if model == ALL else [model]
