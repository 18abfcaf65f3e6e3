"""Makes commands that list entries of the catalog, and show one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Group
from planner.cli.matching import is_bare, meant
from planner.cli.options import catalog_option, json_option
from planner.cli.output import print_document, print_note, print_report

if TYPE_CHECKING:
    from hardware import Catalog


class Listing(ABC):
    """Says what a command lists; what reads and draws entries is imported when the command runs.

    Attributes:
        name: Name of the command.
        argument: Type of the name of one entry.
        example: Name of an entry.
        part: A word that is a part of several names.
        mine: Name of an entry of a catalog of one's own.
        help: What the command does.
        shows: What `show` does.
    """

    name: str
    argument: click.ParamType[Any]
    example: str
    part: str
    mine: str
    help: str
    shows: str

    @abstractmethod
    def entries(self, catalog: Catalog) -> Sequence[Any]:
        """Returns all entries."""

    @abstractmethod
    def entry(self, catalog: Catalog, name: str) -> Any:
        """Returns the entry of a name; raises PlannerError if there is none."""

    @abstractmethod
    def words(self, entry: Any) -> Sequence[str]:
        """Returns the texts that a word is searched in that stands for several entries, the entry's own name first."""

    @abstractmethod
    def document(self, entries: Sequence[Any]) -> str:
        """Returns entries as JSON."""

    @abstractmethod
    def table(self, entries: Sequence[Any]) -> Any:
        """Returns a report of all entries."""

    @abstractmethod
    def card(self, catalog: Catalog, entry: Any) -> Any:
        """Returns a report of one entry."""

    def command(self) -> Group:
        """Returns the command."""

        @click.group(
            self.name,
            cls=Group,
            invoke_without_command=True,
            help=self.help,
            examples=(
                f"planner {self.name}",
                f"planner {self.name} {self.part}",
                f"planner {self.name} show {self.example}",
                f"planner {self.name} --json",
            ),
        )
        @catalog_option
        @json_option
        @click.pass_context
        def listing(ctx: click.Context, catalog: Path | None, as_json: bool) -> None:
            if ctx.invoked_subcommand is None:
                self._print_all(catalog, as_json=as_json)

        own = f"planner {self.name} show {self.mine} --catalog my.yaml --json"

        @listing.command(help=self.shows, examples=(f"planner {self.name} show {self.example}", own))
        @click.argument("parts", type=self.argument, nargs=-1, required=True, metavar="NAME")
        @catalog_option
        @json_option
        @click.pass_context
        def show(ctx: click.Context, parts: tuple[str, ...], catalog: Path | None, as_json: bool) -> None:
            name = " ".join(parts)  # `planner gpus a100 80gb`
            above = ctx.parent.params if ctx.parent else {}
            as_json = as_json or bool(above.get("as_json"))
            self._print_named(name, catalog or above.get("catalog"), as_json=as_json, bare=is_bare(ctx))

        return listing

    def _print_all(self, catalog: Path | None, *, as_json: bool) -> None:
        """Prints all entries."""
        from hardware import load_catalog

        found = self.entries(load_catalog(catalog))
        if as_json:
            print_document(self.document(found))
        else:
            print_report(self.table(found))

    def _print_named(self, name: str, catalog: Path | None, *, as_json: bool, bare: bool) -> None:
        """Prints the entry of a name, or those that a word stands for; `bare` says that no `show` stands before it."""
        from hardware import load_catalog

        loaded = load_catalog(catalog)
        every = self.entries(loaded)
        found = meant(name, every, self.words, lambda word: self.entry(loaded, word), bare=bare)
        if as_json:
            print_document(self.document(found.entries))
        elif len(found.entries) == 1:
            print_report(self.card(loaded, found.entries[0]))
        else:
            print_report(self.table(found.entries))
            print_note(found.note(name, f"planner {self.name}"))
