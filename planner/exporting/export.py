"""Provides `export`, which writes a plan as the files of a training framework.

What is written is read back by `planner check` first: a choice that does not come back is an error that names it.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from planner.exporting.launch import ExportError, Launch, Target
from planner.exporting.launchers.launcher import Launcher
from planner.exporting.launchers.registry import LAUNCHERS
from planner.exporting.read_back import read_back
from planner.exporting.targets.registry import DEFAULT, TARGETS
from planner.files import write_all
from planner.models import Model
from planner.models.trusted import named_in
from planner.problem.problem import CatalogSource, catalog_of
from planner.records.asked.axes import RequestError
from planner.records.asked.request import Request
from planner.records.plan import Plan
from planner.records.plan_file import read_plan
from planner.records.result import EstimateResult, FitResult
from strategies import InvalidChoiceError


def export(
    plan: str | Path | FitResult | EstimateResult,
    to: str,
    *,
    framework: str | None = None,
    rank: int | None = None,
    dataset: str | None = None,
    random_weights: bool = False,
    catalog: CatalogSource = None,
) -> dict[str, str]:
    """Returns the configuration files with which a training framework runs a plan.

    Every choice on which memory depends is set, defaults included. The files are read back as `check` reads them, and
    have to make the same plan.

    Args:
        plan: An answer of `fit` or `estimate`, the path of its JSON, or `-` for standard input.
        to: Name of a framework, `transformers`, `pytorch`, `trl`, `axolotl`, `llama-factory` or `deepspeed`, or of what
            starts its script: `bash`, `slurm`, `kubernetes` or `skypilot`.
        framework: Whose files `to` starts, where it is one of these; `transformers` unless given.
        rank: Number of the plan in an answer of `fit`, from 1; the one to run unless given.
        dataset: Name or file of the data; an example of the target's unless given, if it has one.
        random_weights: Whether the script makes the model's weights, so that it needs no network; of `transformers`,
            `pytorch` and `deepspeed`.
        catalog: The catalog of the plan's GPU, as for `fit`.

    Returns:
        The text of each file by its name.

    Raises:
        ExportError: The target cannot say a choice of the plan, which the error names.
        PlannerError: There is no such target or plan, or its model has no id on the Hugging Face Hub.
    """
    launcher, target = _named(to, framework)
    request, found, source = _plan(plan, rank)
    if request.nodes > 1 and not (target.many_nodes and launcher):
        by = f"{target.name} is written for one node" if launcher else "run.sh starts one node"
        raise ExportError(f"{by}, and the plan has {request.nodes}", "--nodes 1, or --to slurm --with transformers")
    if random_weights and not target.makes_weights:
        raise ExportError(
            f"{target.name} loads weights and makes none", "--random-weights is of transformers, pytorch, deepspeed"
        )
    command = _command(plan, to, framework, rank, dataset, random_weights)
    named = catalog_of(catalog).find(request.gpu)
    vendor = named.vendor if named is not None else "nvidia"  # a card of --vram is one of NVIDIA's
    if vendor == "intel":
        # They call torch.cuda, which on Gaudi has no device: a run would train on the CPU.
        way_out = "optimum-habana's GaudiTrainer takes the same choices, by hand; or plan for --gpu of NVIDIA or AMD"
        raise ExportError(f"{request.gpu}: what is written runs on CUDA and ROCm alone, and Gaudi has neither", way_out)
    launch = Launch(request, found, _model(source, request), dataset, target.name, command, random_weights, vendor)
    if request.task is not None and request.task not in target.tasks:
        raise launch.cannot_say(f"task {request.task}", f"it trains {', '.join(target.tasks)}")
    files = target.files(launch)
    read_back(launch, target, files, catalog_of(catalog))
    return {**files, **launcher.files(launch, files)} if launcher else files


def _named(to: str, framework: str | None) -> tuple[Launcher | None, Target]:
    """Returns the launcher, if `to` is one, and the target of the files."""
    if to not in LAUNCHERS:
        if to not in TARGETS:
            raise InvalidChoiceError("target", to, [*TARGETS, *LAUNCHERS])
        if framework is not None:
            raise ExportError(f"{to} is a framework itself", f"--to slurm --with {to}")
        return None, TARGETS[to]
    name = framework or DEFAULT
    if name not in TARGETS:
        raise InvalidChoiceError("framework", name, TARGETS)
    return LAUNCHERS[to], TARGETS[name]


def write(files: Mapping[str, str], folder: Path, *, force: bool = False) -> list[Path]:
    """Writes files into a folder, which is made if it is not there, and returns their paths.

    Raises:
        ExportError: The folder cannot be made, or is new and named like a file, such as `axolotl.yaml`.
        OutputFileError: A file is there already and `force` is not set, or one cannot be written; then none is.
    """
    if folder.exists() and not folder.is_dir():
        raise ExportError(f"{folder} is a file, not a folder", "-o a folder of yours")
    if not folder.exists() and folder.suffix in {Path(name).suffix for name in files} - {""}:
        several = f"a folder gets {', '.join(files)}"
        raise ExportError(f"{folder} is named like a file, and {several}", f"-o {folder.with_suffix('')}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{folder} cannot be made: {error.strerror}", "-o a folder of yours") from None
    paths = {folder / name: text for name, text in files.items()}
    write_all(paths, force=force)
    for path in paths:
        if path.suffix == ".sh":
            path.chmod(0o755)
    return list(paths)


def _plan(plan: str | Path | FitResult | EstimateResult, rank: int | None) -> tuple[Request, Plan, str]:
    """Returns the request, the plan, and what the source is called."""
    if isinstance(plan, EstimateResult):
        return plan.request, plan, "the plan"
    if isinstance(plan, FitResult):
        try:
            return plan.request, plan.plan(rank), "the plan"
        except RequestError as error:
            raise ExportError(error.message, error.hint) from None
    return *read_plan(str(plan), rank), str(plan)


def _model(source: str, request: Request) -> Model:
    """Returns the model; raises ExportError for one that is code."""
    model = named_in(source, request.model, None)
    if not isinstance(model, Model):
        raise ExportError(f"{request.model} is no model of transformers", "plan a model that `planner models` lists")
    return model


def _command(
    plan: object, to: str, framework: str | None, rank: int | None, dataset: str | None, random_weights: bool
) -> str:
    """Returns the command that makes the files, as a shell takes it."""
    words = ["planner", "export", str(plan) if isinstance(plan, str | Path) else "PLAN", "--to", to]
    words += ["--with", framework] if framework is not None else []
    words += ["--plan", str(rank)] if rank is not None else []
    words += ["--dataset", dataset] if dataset is not None else []
    words += ["--random-weights"] if random_weights else []
    return shlex.join(words)
