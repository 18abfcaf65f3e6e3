"""Writes command lines again in which words stand in other places: a GPU without `--gpu`, or a name in two words.

The module is imported only when there is an error.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import click

from hardware import Catalog, load_catalog
from hardware.errors import PlannerError
from planner.cli.command import is_model
from planner.cli.hints.rewording import is_read
from planner.problem.site import without_count


def together(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line in which words that are one name, or two GPUs, are one word; None if none are.

    In `fit 7B --gpu rtx 4090` they are one name, in `fit 7B --gpu 2x rtx 4090` as well, and in `fit 7B --gpu T4 L4` two
    GPUs.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    catalog = _catalog()
    for i in range(1, len(args) - 1):
        for words in (args[i : i + 2], args[i : i + 3]):
            if any(word.startswith("-") for word in words):
                continue
            name = " ".join(words)
            if args[i - 1] == "--gpu" and len(words) == 2 and all(_is_gpu(word, catalog) for word in words):
                name = ",".join(words)
            elif not (_is_gpu(name, catalog) or is_model(name)):
                continue
            line = [*args[:i], name, *args[i + len(words) :]]
            if is_read(line[1:], ctx):
                return shlex.join(["planner", *line])
    return None


def with_gpu(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line in which `--gpu` stands before the words that name a GPU, up to three; None if none do.

    In `fit 7B 4090` it is the word 4090. Of a command line that has `--gpu`, None is returned.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    if "--gpu" in args:
        return None
    catalog = _catalog()
    for length in (1, 2, 3):
        for i in range(1, len(args) - length + 1):
            name = " ".join(args[i : i + length])
            line = [*args[:i], *args[i + length :], "--gpu", name]
            if not name.startswith("-") and _is_gpu(name, catalog) and is_read(line[1:], ctx):
                return shlex.join(["planner", *line])
    return None


def _catalog() -> Catalog | None:
    """Returns the catalog; None where a file of the user's is broken, which is no matter here."""
    try:
        return load_catalog()
    except PlannerError:
        return None


def _is_gpu(name: str, catalog: Catalog | None) -> bool:
    """Returns whether a name is one of a GPU or machine of the catalog, with or without a number, or says a size."""
    if catalog is None:
        return False
    try:
        name = str(without_count(name, None, catalog)[0])
        return catalog.find_machine(name) is not None or catalog.lookup(name) is not None
    except PlannerError:  # a size that no card has
        return False
