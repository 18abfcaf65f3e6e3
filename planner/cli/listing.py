"""Makes commands that list entries of the catalog, and show one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from planner.cli.command import Group
from planner.cli.options import catalog_option, json_option
from planner.cli.output import print_document, print_report

if TYPE_CHECKING:
    from hardware import Catalog


class Listing(ABC):
    """Says what a command lists; what reads and draws entries is imported when the command runs.

    Attributes:
        name: Name of the command.
        argument: Type of the name of one entry.
        example: Name of an entry.
        mine: Name of an entry of a catalog of one's own.
        help: What the command does.
        shows: What `show` does.
    """

    name: str
    argument: click.ParamType[Any]
    example: str
    mine: str
    help: str
    shows: str

    @abstractmethod
    def entries(self, catalog: Catalog) -> Sequence[Any]:
        """Returns all entries."""

    @abstractmethod
    def entry(self, catalog: Catalog, name: str) -> Any:
        """Returns the entry of a name; raises PlannerError if there is none."""

    def group(self, catalog: Catalog, name: str) -> Sequence[Any]:
        """Returns the entries that a name stands for together; none where it is that of one."""
        return ()

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
                f"planner {self.name} show {self.example}",
                f"planner {self.name} --json",
            ),
        )
        @catalog_option
        @json_option
        @click.pass_context
        def listing(ctx: click.Context, catalog: Path | None, as_json: bool) -> None:
            if ctx.invoked_subcommand is None:
                from hardware import load_catalog

                found = self.entries(load_catalog(catalog))
                if as_json:
                    print_document(self.document(found))
                else:
                    print_report(self.table(found))

        own = f"planner {self.name} show {self.mine} --catalog my.yaml --json"

        @listing.command(help=self.shows, examples=(f"planner {self.name} show {self.example}", own))
        @click.argument("name", type=self.argument)
        @catalog_option
        @json_option
        @click.pass_context
        def show(ctx: click.Context, name: str, catalog: Path | None, as_json: bool) -> None:
            from hardware import load_catalog

            above = ctx.parent.params if ctx.parent else {}
            loaded = load_catalog(catalog or above.get("catalog"))
            group = self.group(loaded, name)
            found = group or [self.entry(loaded, name)]
            if as_json or above.get("as_json"):
                print_document(self.document(found))
            else:
                print_report(self.table(found) if group else self.card(loaded, found[0]))

        return listing
