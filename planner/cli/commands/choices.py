"""Defines the command `planner choices`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from planner.cli.arguments import Completed
from planner.cli.command import Command
from planner.cli.options import json_option
from planner.cli.output import print_document, print_report


class OptionName(Completed):
    """Names an option of a technique, with or without dashes."""

    name = "option"

    def names(self, ctx: click.Context) -> Iterable[tuple[str, str | None]]:
        """Returns the options with what they say."""
        from strategies import OPTIONS

        return [(option.name.replace("_", "-"), option.help or None) for option in OPTIONS.values()]

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Returns the name of an option, or of the one that has a choice; raises InvalidChoiceError for other text."""
        from strategies import OPTIONS, InvalidChoiceError

        name = str(value).lstrip("-").replace("-", "_")
        if name not in OPTIONS:
            kinds = {option.name: option.kind for option in OPTIONS.values() if isinstance(option.kind, type)}
            having = [option for option, kind in kinds.items() if str(value).casefold() in {*kind}]
            if len(having) == 1:
                return having[0]
            raise InvalidChoiceError("option", str(value), [option.replace("_", "-") for option in OPTIONS])
        return name


@click.command(
    cls=Command,
    examples=("planner choices", "planner choices sharding", "planner choices optimizer --json"),
)
@click.argument("option", type=OptionName(), required=False)
@json_option
def choices(option: str | None, as_json: bool) -> None:
    """Say what each choice of each technique means, or those of one OPTION, named by itself or by a choice of it."""
    from strategies import AXES, OPTIONS

    asked = list(OPTIONS.values())
    if option is not None:
        asked = list(AXES[option].options) if option in AXES else [OPTIONS[option]]
    if as_json:
        from planner.report.documents import choices_document

        print_document(choices_document(asked))
    else:
        from planner.report.catalog.choices import ChoicesReport

        print_report(ChoicesReport(asked))
