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


def together(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line in which two words that are one name, or two GPUs, are one word; None if no two are.

    In `fit 7B --gpu rtx 4090` they are one name, and in `fit 7B --gpu T4 L4` two GPUs.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    catalog = _catalog()
    for i in range(1, len(args) - 1):
        first, second = args[i : i + 2]
        if "-" in (first[:1], second[:1]):
            continue
        name = f"{first} {second}"
        if args[i - 1] == "--gpu" and _is_gpu(first, catalog) and _is_gpu(second, catalog):
            name = f"{first},{second}"
        elif not (_is_gpu(name, catalog) or is_model(name)):
            continue
        line = [*args[:i], name, *args[i + 2 :]]
        if is_read(line[1:], ctx):
            return shlex.join(["planner", *line])
    return None


def with_gpu(args: Sequence[str], ctx: click.Context) -> str | None:
    """Returns a command line in which `--gpu` stands before the word, or the two, that name a GPU; None if none do.

    In `fit 7B 4090` it is the word 4090. Of a command line that has `--gpu`, None is returned.

    Args:
        args: The command line, without the program's name.
        ctx: The context of its command.
    """
    if "--gpu" in args:
        return None
    catalog = _catalog()
    for length in (1, 2):
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
    """Returns whether a name is one of a GPU or machine of the catalog, or says a size of memory."""
    if catalog is None:
        return False
    try:
        return catalog.find_machine(name) is not None or catalog.lookup(name) is not None
    except PlannerError:  # a size that no card has
        return False
