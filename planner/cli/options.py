"""Defines what options are made of, and those of techniques and of output."""

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
from strategies import OPTIONS, Names

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
    """Extends an option: its help lists the choices of an axis, which are read only when the help is asked for.

    Args:
        unless: What holds where the option is not given.
        attributes: Arguments of `SeveralOption`.
    """

    def __init__(self, *arguments: Any, unless: str = "", **attributes: Any) -> None:
        self.unless = unless
        super().__init__(*arguments, **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Returns the option and its choices."""
        assert isinstance(self.type, AxisChoice)
        aliases = "".join(f"; {name}: {meant}" for name, meant in self.type.choices.aliases().items())
        unless = f"; {self.unless}" if self.unless else ""
        self.help = ", ".join(choice.value for choice in self.type.choices) + aliases + unless
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
