"""Defines the commands `planner models` and `planner models show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from planner.cli.arguments import MODEL_NAME
from planner.cli.command import Group
from planner.cli.matching import is_bare, meant
from planner.cli.options import json_option
from planner.cli.output import print_document, print_note, print_report


@click.group(
    cls=Group,
    invoke_without_command=True,
    examples=("planner models", "planner models qwen3", "planner models show llama-2-7b", "planner models --json"),
)
@json_option
@click.pass_context
def models(ctx: click.Context, as_json: bool) -> None:
    """List the models that are known by name, all or those whose names hold a word."""
    if ctx.invoked_subcommand is not None:
        return
    from planner.models import recognize, registry_models, replayed_models

    _list([recognize(entry.name) for entry in (*registry_models(), *replayed_models())], as_json)


@models.command(examples=("planner models show llama-2-7b", "planner models show path/to/config.json --json"))
@click.argument("parts", type=MODEL_NAME, nargs=-1, required=True, metavar="NAME")
@json_option
@click.pass_context
def show(ctx: click.Context, parts: tuple[str, ...], as_json: bool) -> None:
    """Show one model: its shape, its exact number of parameters, and where they are.

    NAME is one that `planner models` lists, a config.json, hf:org/name, or a size such as 7B.
    """
    from planner.models import recognize, registry_models, replayed_models, sized_model

    name = " ".join(parts)  # `planner models llama 2`
    every = (*registry_models(), *replayed_models())
    found = meant(name, every, lambda entry: entry.names, sized_model, bare=is_bare(ctx))
    as_json = as_json or bool(ctx.parent and ctx.parent.params["as_json"])
    if len(found.entries) == 1:
        _show(found.entries[0], as_json)
    else:
        _list([recognize(entry.name) for entry in found.entries], as_json)
        if not as_json:
            print_note(found.note(name, "planner models"))


def _show(model: Any, as_json: bool) -> None:
    """Prints one model."""
    from planner.models import Model

    if as_json:
        from planner.report.documents import model_document

        print_document(model_document(model))
    else:
        from planner.report.catalog.models import ModelCard, ReplayedCard

        print_report(ModelCard(model) if isinstance(model, Model) else ReplayedCard(model))


def _list(found: Sequence[Any], as_json: bool) -> None:
    """Prints several models."""
    if as_json:
        from planner.report.documents import models_document

        print_document(models_document(found))
    else:
        from planner.report.catalog.models import ModelList

        print_report(ModelList(found))
