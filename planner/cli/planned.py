"""Reads the argument of commands that take a plan in place of a model and its options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource


def planned(
    ctx: click.Context, model: str, plan: int, named: str | None, arguments: dict[str, Any], beside: Sequence[str]
) -> dict[str, Any]:
    """Returns the arguments of one configuration, those of a plan where the model's argument names a file with one.

    Args:
        ctx: The command's context.
        model: The argument: a model, or the file of a plan, or `-`.
        plan: Rank of the plan in the file.
        named: The plan's model once more, as the user repeats it.
        arguments: The command's other arguments.
        beside: Options that a plan does not decide.

    Raises:
        ContradictionError: An option is given that the plan decides, or the model is repeated without a plan.
        PlanFileError: The file holds no such plan.
        MissingParameter: A model is given without a GPU.
    """
    from planner.records.plan_file import arguments_of, check_exists, is_plan

    if is_plan(model):
        _refuse_options_beside_a_plan(ctx, beside)
        return {**arguments_of(model, plan, model=named), **{name: arguments[name] for name in beside}}
    _refuse_model_beside_a_model(named)
    if arguments["gpu"] is None:
        check_exists(model)
        gpu = next(parameter for parameter in ctx.command.params if parameter.name == "gpu")
        raise click.MissingParameter(ctx=ctx, param=gpu)
    return {**arguments, "model": model}


def _refuse_options_beside_a_plan(ctx: click.Context, beside: Sequence[str]) -> None:
    """Raises ContradictionError for an option that a plan file decides, since it would be ignored."""
    from strategies import ContradictionError

    allowed = {"model", "plan", "named", "as_json", *beside}
    for name in ctx.params:
        if name not in allowed and ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            option = f"--{name.replace('_', '-')}"
            raise ContradictionError(f"{option} is given beside a plan, which decides it", f"drop {option}")


def _refuse_model_beside_a_model(named: str | None) -> None:
    """Raises ContradictionError if `--model` is given without a plan file."""
    from strategies import ContradictionError

    if named is not None:
        raise ContradictionError("--model is given, but no plan file whose model it could repeat", "drop --model")
