"""Provides `check`, which reads the configuration files of a run and says whether it fits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hardware import GPU
from hardware.errors import PlannerError
from planner.checking.changes.proposals import proposals
from planner.checking.changes.trials import Trials
from planner.checking.next_steps import next_steps
from planner.checking.planned import Planned, planned
from planner.problem.problem import CatalogSource, catalog_of
from planner.problem.site import without_count
from planner.readers.documents.overrides import parse_override
from planner.readers.documents.patterns import Pattern
from planner.readers.documents.reading import Place, Reading, Refusal, Said
from planner.readers.frameworks.spelling import TRAINER
from planner.readers.launching.sources import read_sources
from planner.readers.registry import READERS
from planner.readers.run import Run
from planner.readers.settle import settle
from planner.records.check import NO_RECIPE, Change, CheckResult, KeyPlace, Remark, Setting
from strategies import Choice

_WAY_OUT = "give it as another FILE, or add -- --model_name_or_path NAME with the arguments of transformers' Trainer"


def check(
    files: str | Path | Sequence[str | Path],
    *,
    gpu: str | GPU | None = None,
    gpus: int | None = None,
    nodes: int | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    launch: int | None = None,
    headroom: float | None = None,
    catalog: CatalogSource = None,
    changes: bool = True,
) -> CheckResult:
    """Reads the configuration files of a training run, and says what memory it takes and whether it fits.

    Files of axolotl, LLaMA-Factory, TRL, accelerate and DeepSpeed are read, several of one run together. Nothing that
    they name is executed or downloaded.

    Args:
        files: Path of the recipe, and of the launcher's file and DeepSpeed's JSON where the run has them.
        gpu: Name or alias of a GPU in the catalog, or a `GPU`; None to be told the smallest GPUs that hold the run.
        gpus: GPUs per node. By default what the files say; if they do not, several numbers are tried.
        nodes: Number of nodes, by default what the files say.
        overrides: Values that replace those of the files' keys: a mapping, or texts such as `KEY=VALUE`.
        launch: Number of the run that is meant, from 1, where a FILE is a script that launches several.
        headroom: Share of the GPU's usable bytes that is left free. By default the run fits if the GPU has its bytes at
            all, and what is proposed, a GPU or a change, leaves 0.05 free.
        catalog: A `Catalog`, or the path of a YAML file that adds GPUs to the built-in catalog.
        changes: Whether changes of the files are looked for, which takes most of the time.

    Returns:
        What was read, with the place of each value; what is refused, left out, without effect or not understood; and
        the plan, unless something was refused.

    Raises:
        PlannerError: A file cannot be read, is of no known framework, or a value or name makes no sense.
    """
    paths = [files] if isinstance(files, str | Path) else list(files)
    if not paths:
        raise PlannerError("no file is given", "planner check run.yaml")
    given = overrides if isinstance(overrides, Mapping) else dict(map(parse_override, overrides))
    known = catalog_of(catalog)
    if gpu is not None:
        gpu, gpus = without_count(gpu, gpus, known)
    sources = read_sources([*map(str, paths)], launch)
    run = Run(sources, READERS, given, gpus and gpus * (nodes or 1))
    reading = run.reading
    settle(reading, run.recipe.spelling if run.recipe else TRAINER)
    if run.recipe is None:
        reading.refuse(f"no recipe among the files: none names a model: {_WAY_OUT}")
    found = Planned()
    if not reading.refused:
        found = planned(run, gpu=gpu, gpus=gpus, nodes=nodes, headroom=headroom, catalog=known)
    proposed: tuple[Change, ...] = ()
    notes = (*_misspelt(run), *next_steps(reading, run), *found.notes)
    if found.cluster is not None and changes:
        proposed, more = proposals(Trials(sources, given, found.cluster), found.plan)
        notes = (*notes, *more)
    return CheckResult(
        files=tuple(run.files),
        framework=_framework(run, reading),
        reading={word: _setting(said) for word, said in reading.said.items() if said.value is not None},
        refused=_remarks(reading.refused),
        left_out=_remarks(reading.left_out),
        without_effect=tuple(map(_key, reading.idle)),
        dead=_remarks(reading.dead),
        not_understood=tuple(map(_key, reading.unknown)),
        plan=found.plan,
        on_gpus=found.on_gpus,
        smallest=found.smallest,
        changes=proposed,
        notes=notes,
    )


def _misspelt(run: Run) -> Iterator[str]:
    """Yields notes on keys that their program does not know, and that are close to one that it does."""
    for place in run.reading.unknown:
        if (meant := run.meant(place)) is not None:
            yield f"{place}: nothing reads this key: did you mean {meant}?"


def _framework(run: Run, reading: Reading) -> str:
    return str(reading.value("version", run.recipe.version if run.recipe else NO_RECIPE))


def _setting(said: Said) -> Setting:
    value = said.value
    plain: Any = value
    if isinstance(value, Choice):
        plain = value.value
    elif isinstance(value, Pattern):
        plain = str(value)
    elif isinstance(value, tuple):
        plain = list(value)
    return Setting(value=plain, place=said.place and _key(said.place), why=said.why)


def _remarks(refusals: Sequence[Refusal]) -> tuple[Remark, ...]:
    return tuple(Remark(what=what, place=place and _key(place)) for what, place in refusals)


def _key(place: Place) -> KeyPlace:
    return KeyPlace(key=place.key, file=place.file, line=place.line or None)
