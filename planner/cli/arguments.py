"""Defines types of arguments: how their text is read, and what a shell completes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from strategies import Choice


class _Type(click.ParamType):  # type: ignore[type-arg]  # generic in recent versions of click only
    pass


def _named(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "the value"


class WholeNumber(_Type):
    """Reads a whole number."""

    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number; raises PlannerError for any other text."""
        from hardware.errors import PlannerError

        try:
            return int(str(value))
        except ValueError:
            from planner.records.asked.amounts import meant

            found = " or ".join(map(str, meant(str(value).strip(" xX"))))  # 8x, as before the name of a GPU
            near = found or "4"
            raise PlannerError(f"{_named(param)} is {value!r}, not a whole number", f"{_named(param)} {near}") from None


class Length(WholeNumber):
    """Reads a length in tokens: a whole number, or one with a unit, such as 4k."""

    name = "length"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Returns the number of tokens; raises PlannerError for any other text."""
        from planner.records.asked.amounts import parse_length

        found = parse_length(_named(param), value)
        assert found is not None
        return found


class WholeNumbers(_Type):
    """Reads one whole number, or several with commas between them.

    Attributes:
        each: Reads one of them.
    """

    name = "numbers"

    def __init__(self, each: WholeNumber) -> None:
        self.each = each

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | tuple[int, ...]:
        """Returns the number, or the numbers; raises PlannerError for any other text."""
        if isinstance(value, int | tuple):
            return value
        numbers = [self.each.convert(part.strip(), param, ctx) for part in str(value).split(",")]
        return numbers[0] if len(numbers) == 1 else tuple(numbers)


class Share(_Type):
    """Reads a share, such as 5% or 0.05."""

    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Returns the share as a fraction; raises PlannerError for any other text."""
        from hardware.errors import PlannerError

        text = str(value).strip()
        try:
            share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise PlannerError(f"{_named(param)} is {value!r}, not a share", f"{_named(param)} 5%") from None
        if 1 <= share < 100 and not text.endswith("%"):
            hint = f"did you mean {_named(param)} {text}%?"
            raise PlannerError(f"{_named(param)} is {value!r}, all of the memory or more", hint)
        return share


class Completed(_Type):
    """Passes text on to the library; a shell completes it with the names that begin in the same way."""

    name = "text"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns pairs of a name and what it means."""
        raise NotImplementedError  # no abstract method: click.ParamType is no abstract class

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Returns the names that begin with the text, whatever its case."""
        from click.shell_completion import CompletionItem

        from hardware.errors import PlannerError

        typed = incomplete.casefold()
        try:
            names = list(self.names(ctx))
        except PlannerError:  # such as a broken catalog; the command itself will report it
            return []
        return [CompletionItem(name, help=help) for name, help in names if name.casefold().startswith(typed)]


class GPUName(Completed):
    """Names a GPU of the catalog."""

    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the GPUs and machines of the catalog, with that of `--catalog`."""
        from hardware import load_catalog

        catalog = load_catalog(ctx.params.get("catalog"))
        return [*((gpu, None) for gpu in catalog.names()), *((m.name, m.offer) for m in catalog.machines)]


class MachineName(Completed):
    """Names a machine of the catalog."""

    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the machines of the catalog, with that of `--catalog`."""
        from hardware import load_catalog

        return [(machine.name, machine.offer) for machine in load_catalog(ctx.params.get("catalog")).machines]


class ModelName(Completed):
    """Names a model."""

    name = "model"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the models of the registry with their ids on the Hugging Face Hub."""
        from planner.models import registry_models, replayed_models

        return [(model.name, model.hf) for model in (*registry_models(), *replayed_models())]


class AxisChoice(Completed):
    """Names a choice of one axis of `strategies`.

    Attributes:
        choices: The axis.
    """

    name = "name"

    def __init__(self, choices: type[Choice]) -> None:
        self.choices = choices

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the choices with their summaries, and the aliases."""
        return [*((choice.value, choice.summary) for choice in self.choices), *self.choices.aliases().items()]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the choice, an alias or `all`; raises InvalidChoiceError for any other text."""
        from planner.records.asked.axes import ALL

        return str(value) if value == ALL or value in self.choices.aliases() else self.choices.parse(str(value))


class ModuleNames(Completed):
    """Names modules of the model with commas between them, or is a keyword.

    Attributes:
        keyword: The word that a user can write in place of names.
    """

    name = "names"

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the keyword."""
        return [(self.keyword, None)]


class DeviceChoice(Completed):
    """Names where `verify` runs the step."""

    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the devices and what they mean."""
        return [("replay", "on fake tensors alone"), ("cuda", "for real on a GPU"), ("cpu", "for real, small models")]


ANSWERS = ("fit", "machines", "estimate", "explain", "verify", "check", "sweep", "compare", "measured", "catalog")
"""What has a JSON Schema: answers of commands, `machines` that of `fit` on several, and catalog files."""


class Answer(Completed):
    """Names a command whose answer has a JSON Schema."""

    name = "answer"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the commands."""
        return [(answer, None) for answer in ANSWERS]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the command; raises InvalidChoiceError for any other text."""
        from strategies import InvalidChoiceError

        if value not in ANSWERS:
            raise InvalidChoiceError("answer", value, ANSWERS)
        return str(value)


WHOLE_NUMBER = WholeNumber()
WHOLE_NUMBERS = WholeNumbers(WHOLE_NUMBER)
LENGTH = Length()
LENGTHS = WholeNumbers(LENGTH)
SHARE = Share()
GPU_NAME = GPUName()
MACHINE_NAME = MachineName()
MODEL_NAME = ModelName()
DEVICE = DeviceChoice()
FILE = click.Path(path_type=Path)
