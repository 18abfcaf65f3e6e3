"""Defines the command `planner catalog check`."""

from __future__ import annotations

from pathlib import Path

import click

from planner.cli.arguments import FILE
from planner.cli.command import Group
from planner.cli.output import print_text


@click.group(cls=Group, examples=("planner catalog check my.yaml",))
def catalog() -> None:
    """Work with a GPU catalog of your own."""


@catalog.command(examples=("planner catalog check my.yaml",))
@click.argument("file", type=FILE)
def check(file: Path) -> None:
    """Report every problem of a catalog file with its line, or what the file adds and changes."""
    from hardware import builtin_catalog_path, read_catalog

    builtin = read_catalog(builtin_catalog_path())
    found = read_catalog(file, base=builtin)
    builtin.merge(found)
    entries = [(len(found), "GPU"), (len(found.machines), "machine")]
    counted = [f"{number} {noun}{'' if number == 1 else 's'}" for number, noun in entries if number]
    print_text(f"{file}: no problems, {' and '.join(counted) or 'no entries'}")
    for gpu in found:
        print_text(f"  {'changes' if builtin.find(gpu.name) else 'adds'}  {gpu.name}")
    for machine in found.machines:
        print_text(f"  {'changes' if builtin.find_machine(machine.name) else 'adds'}  {machine.name}")
