"""Defines the options that say which model is trained, and where."""

from __future__ import annotations

import click

from planner.cli.arguments import GPU_NAME, MODEL_NAME, SHARE, WHOLE_NUMBER, WHOLE_NUMBERS, AxisChoice
from planner.cli.command import Option
from planner.cli.options import AxisOption, F, decorated, number_option, option
from strategies import Loading


def machine_options(function: F) -> F:
    """Adds the model, and the options that say where it is trained."""
    return _machine(function, gpu_required=True)


def machines_options(function: F) -> F:
    """Adds the same as `machine_options`, but takes several GPUs, machines and counts."""
    return _machine(function, gpu_required=True, several=True)


def sweep_options(function: F) -> F:
    """Adds several models, and where they are trained."""
    models = click.argument("models", type=MODEL_NAME, nargs=-1, required=True, metavar="MODEL...")
    return models(_where(function, gpu_required=True, several=True))


def compare_options(function: F) -> F:
    """Adds plans or models, and where these are trained."""
    plans = click.argument("plans", type=MODEL_NAME, nargs=-1, required=True, metavar="PLAN...|MODEL")
    return plans(_where(function, gpu_required=False, several=True))


def machine_or_plan_options(function: F) -> F:
    """Adds the same as `machine_options`, but requires no GPU, since a plan file may take the model's place."""
    section = "Workload"
    plan = number_option("--plan", section, "Which plan of a file, by its number; the one to run unless given.")
    again = option(
        "--model",
        "named",
        metavar="NAME",
        section=section,
        help="The model of a plan file once more: lets its code run, or its config be downloaded.",
    )
    return _machine(decorated(plan, again)(function), gpu_required=False)


def _as_gpu(ctx: click.Context, param: click.Parameter, size: str | None) -> None:
    """Makes a size of memory the default of --gpu, as which it is the name of a stand-in.

    Raises:
        PlannerError: The text is no size.
    """
    if size is None:
        return
    sizes = size.split(",") if isinstance(param, Option) and param.gathers else [size]
    ctx.default_map = {**(ctx.default_map or {}), "gpu": ",".join(map(_stand_in, sizes))}


def _stand_in(size: str) -> str:
    """Returns the name of a stand-in with so much memory.

    A number without a unit, or with no more than its G, is one of GiB: cards that are sold as 24 GB have 24 GiB.

    Raises:
        PlannerError: The text is no size.
    """
    import re

    from hardware.errors import PlannerError
    from hardware.names.unlisted import MOST, memory_of

    bare = re.fullmatch(r"([0-9.]+)\s*(?:[Gg][Ii]?)?", size.strip())
    meant = f"{bare[1]}GiB" if bare else size
    found = memory_of(meant)
    if found is None:
        raise PlannerError(f"--vram is {size!r}, not a size", "--vram 24, or 24GiB")
    if bare and found > MOST:  # of as many MiB, as nvidia-smi prints them
        raise PlannerError(f"--vram is {size!r}, but no card has {meant}", f"--vram {bare[1]}MiB")
    return meant


def _not_both(ctx: click.Context, _: click.Parameter, gpu: str | None) -> str | None:
    """Returns --gpu; raises PlannerError if --vram says something else."""
    size = (ctx.default_map or {}).get("gpu")
    if size is not None and gpu != size:
        from hardware.errors import PlannerError

        raise PlannerError(
            f"--gpu {gpu} and --vram {size} both say what the GPU is",
            f"give one of the two: --vram {size} for a card that is not listed",
        )
    return gpu


def _machine(function: F, *, gpu_required: bool, several: bool = False) -> F:
    return click.argument("model", type=MODEL_NAME)(_where(function, gpu_required=gpu_required, several=several))


def _where(function: F, *, gpu_required: bool, several: bool) -> F:
    section, more = "Machine", "; several: 1,2,4" if several else ""
    kind = WHOLE_NUMBERS if several else WHOLE_NUMBER
    groups = ", or several: A100,2xL4, any, machines, AWS" if several else ""
    return decorated(
        option(
            "--gpu",
            type=GPU_NAME,
            required=gpu_required,
            metavar="NAME",
            section=section,
            gathers=several,
            callback=_not_both,
            help=f"See `planner gpus` and `planner machines`; 8xH100 is eight of them{groups}.",
        ),
        option(
            "--vram",
            is_eager=True,  # before --gpu, whose default it is
            expose_value=False,
            callback=_as_gpu,
            metavar="SIZE",
            section=section,
            gathers=several,
            help="Memory of a card that is not listed, such as 24, which is 24GiB.",
        ),
        number_option(
            "--gpus",
            section,
            f"GPUs per node; 1, or as many as the machine has, unless given{more}.",
            type=kind,
            gathers=several,
        ),
        number_option("--nodes", section, f"Nodes{more}.", default=1, type=kind, gathers=several),
        option(
            "--headroom",
            type=SHARE,
            metavar="SHARE",
            section=section,
            help=f"Share of the GPU's memory to leave free; {'5%' if several else 'none'} unless given.",
        ),
        option(
            "--host-memory",
            metavar="SIZE",
            section=section,
            help="Host memory of a node, such as 512GB; what is usual with its GPUs unless given.",
        ),
        option("--loading", cls=AxisOption, type=AxisChoice(Loading), metavar="NAME", section=section, default="auto"),
    )(function)
