"""Defines options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any, TypeVar

import click

import strategies
from planner.cli.arguments import (
    FILE,
    WHOLE_NUMBER,
    AxisChoice,
    ModuleNames,
)
from planner.cli.command import Option
from strategies import OPTIONS, Batching, Names, Objective, Outputs, Task

F = TypeVar("F", bound=Callable[..., Any])

TECHNIQUES = "Techniques (`planner choices` says what each choice means)"
"""Heading of the options of all axes."""


class SeveralOption(Option):
    """Extends an option that may be repeated: its values may also stand behind it with commas between them."""

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Returns the values, each for itself."""
        if self.multiple and value:
            value = tuple(part for text in value for part in (text.split(",") if isinstance(text, str) else (text,)))
        return super().type_cast_value(ctx, value)


class AxisOption(SeveralOption):
    """Extends an option: its help lists the choices of an axis, which are read only when the help is asked for."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Returns the option and its choices."""
        assert isinstance(self.type, AxisChoice)
        aliases = "".join(f"; {name}: {meant}" for name, meant in self.type.choices.aliases().items())
        self.help = ", ".join(choice.value for choice in self.type.choices) + aliases
        return super().get_help_record(ctx)


def decorated(*decorators: Callable[[F], F]) -> Callable[[F], F]:
    """Returns several decorators as one, the first of them outermost."""
    return lambda function: reduce(lambda inner, decorate: decorate(inner), reversed(decorators), function)


def option(*names: str, **attributes: Any) -> Callable[[F], F]:
    """Returns a decorator that adds an option, an `Option` unless `cls` says otherwise."""
    return click.option(*names, cls=attributes.pop("cls", Option), **attributes)


json_option = option("--json", "as_json", is_flag=True, help="Print one JSON document.")
plot_option = option("--plot", is_flag=True, help="Draw moments of the step, and memory and speed as curves.")
catalog_option = option(
    "--catalog",
    type=FILE,
    metavar="FILE",
    help="A YAML file of GPUs on top of the built-in ones; also the variable PLANNER_CATALOG.",
)


space_option = option(
    "--space",
    type=FILE,
    metavar="FILE",
    section=TECHNIQUES,
    help="A YAML file of what to search, see `planner space show`; the options above come before it.",
)


def number_option(name: str, section: str, help: str, **attributes: Any) -> Callable[[F], F]:
    """Returns a decorator that adds an option for a whole number.

    Args:
        name: The option's name, with its dashes.
        section: Title of its section in the help.
        help: Its text in the help.
        attributes: More arguments of `click.option`.
    """
    shown, kind = attributes.get("default") is not None, attributes.pop("type", WHOLE_NUMBER)
    return option(name, type=kind, metavar="N", section=section, help=help, show_default=shown, **attributes)


evaluation_option = number_option(
    "--evaluation-batch-size", "Workload", "Samples that are evaluated at once between steps; none unless given."
)


def batching_options(function: F) -> F:
    """Adds the options that say how samples of different lengths become a batch."""
    section = "Workload"
    return decorated(
        option(
            "--batching", cls=AxisOption, type=AxisChoice(Batching), metavar="NAME", section=section, default="full"
        ),
        number_option("--mean-length", section, "Tokens of a sample on average, where they are padded or packed."),
    )(function)


def effective_batch_options(function: F) -> F:
    """Adds what bounds or says the effective batch of a search."""
    section = "Workload"
    return decorated(
        number_option("--micro-batch-size", section, "Sequences per GPU and pass; may be repeated.", multiple=True),
        number_option("--max-accumulation", section, "Most accumulation steps, 16 unless given."),
        number_option("--gradient-accumulation-steps", section, "Accumulation steps of every plan."),
        number_option("--global-batch-size", section, "The effective batch wanted, instead of the largest."),
        option(
            "--tokens-per-step",
            metavar="N",
            section=section,
            help="The same in tokens, such as 512k: the nearest batch.",
        ),
    )(function)


def goal_options(function: F) -> F:
    """Adds what a search looks for, and what a run may take."""
    section = "Goal"
    return decorated(
        option(
            "--objective", cls=AxisOption, type=AxisChoice(Objective), metavar="NAME", section=section, default="batch"
        ),
        option("--tokens", metavar="N", section=section, help="Tokens of a run, such as 1.5B: says how long it takes."),
        option("--samples", metavar="N", section=section, help="Samples of a run, such as 10M, instead of tokens."),
        option("--epochs", metavar="N", section=section, help="How often the run goes over them; once unless given."),
        option("--deadline", metavar="TIME", section=section, help="Longest time of the run, such as 24h."),
        option("--budget", metavar="USD", section=section, help="Highest price of the run."),
        option("--price", metavar="USD", section=section, help="Of one GPU for an hour; the catalog's unless given."),
    )(function)


task_option = option("--task", cls=AxisOption, type=AxisChoice(Task), metavar="NAME", section="Workload")
outputs_option = option(
    "--outputs", cls=AxisOption, type=AxisChoice(Outputs), metavar="NAME", section="Workload", default="released"
)


def axis_options(function: F) -> F:
    """Adds one option, which may be repeated, for each option of the techniques."""
    return decorated(*map(_axis_option, OPTIONS.values()))(function)


def _axis_option(said: strategies.Option) -> Callable[[F], F]:
    names, shared = f"--{said.name.replace('_', '-')}", {"multiple": True, "section": TECHNIQUES}
    kind = said.kind
    if isinstance(kind, type):
        return option(names, cls=AxisOption, type=AxisChoice(kind), metavar="NAME", **shared)
    if isinstance(kind, Names):
        return option(names, type=ModuleNames(kind.keyword), metavar="NAMES", help=said.help, **shared)
    return option(names, cls=SeveralOption, metavar="N", help=said.help, **shared)
