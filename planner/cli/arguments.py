"""Types of arguments: how their text is read, and what a shell completes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from strategies import Choice


class _Type(click.ParamType):  # type: ignore[type-arg]  # generic only in recent versions of click
    pass


def _named(param: click.Parameter | None) -> str:
    return param.opts[0] if param is not None else "the value"


class WholeNumber(_Type):
    name = "number"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from hardware.errors import PlannerError

        try:
            return int(str(value))
        except ValueError:
            raise PlannerError(f"{_named(param)} is {value!r}, not a whole number", f"{_named(param)} 4") from None


class Share(_Type):
    name = "share"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from hardware.errors import PlannerError

        text = str(value).strip()
        try:
            return float(text[:-1]) / 100 if text.endswith("%") else float(text)
        except ValueError:
            raise PlannerError(f"{_named(param)} is {value!r}, not a share", f"{_named(param)} 5%") from None


class Completed(_Type):
    """Text that the library reads; a shell completes it with the names that begin in the same way."""

    name = "text"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Names and what they mean."""
        raise NotImplementedError

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        from hardware.errors import PlannerError

        typed = incomplete.casefold()
        try:
            names = list(self.names(ctx))
        except PlannerError:  # such as a broken catalog, which the command itself will report
            return []
        return [CompletionItem(name, help=help) for name, help in names if name.casefold().startswith(typed)]


class GPUName(Completed):
    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        from hardware import load_catalog

        return [(gpu, None) for gpu in load_catalog(ctx.params.get("catalog")).names()]


class ModelName(Completed):
    name = "model"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        from planner.models import registry_models

        return [(model.name, model.hf) for model in registry_models()]


class AxisChoice(Completed):
    """A choice of one axis of `strategies`."""

    name = "name"

    def __init__(self, choices: type[Choice]) -> None:
        self.choices = choices

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        return [(choice.value, choice.summary) for choice in self.choices]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from planner.records.axes import ALL

        return ALL if value == ALL else self.choices.parse(str(value))


class ModuleNames(Completed):
    """Names of the model's modules with commas between them, or a keyword."""

    name = "names"

    def __init__(self, keyword: str) -> None:
        self.keyword = keyword

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        return [(self.keyword, None)]


class DeviceChoice(Completed):
    """Where `verify` runs the step."""

    name = "name"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        return [("replay", "on fake tensors alone"), ("cuda", "for real on a GPU"), ("cpu", "for real, small models")]


ANSWERS = ("fit", "estimate", "verify")


class Answer(Completed):
    """A command whose answer has a JSON Schema."""

    name = "answer"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        return [(answer, None) for answer in ANSWERS]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from strategies import InvalidChoiceError

        if value not in ANSWERS:
            raise InvalidChoiceError("answer", value, ANSWERS)
        return str(value)


WHOLE_NUMBER = WholeNumber()
SHARE = Share()
GPU_NAME = GPUName()
MODEL_NAME = ModelName()
DEVICE = DeviceChoice()
FILE = click.Path(path_type=Path)
