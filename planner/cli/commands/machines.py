"""Defines the commands `planner machines` and `planner machines show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planner.cli.arguments import MACHINE_NAME
from planner.cli.listing import Listing

if TYPE_CHECKING:
    from hardware import Catalog


class _Machines(Listing):
    name, argument, example, part, mine = "machines", MACHINE_NAME, "p5.48xlarge", "AWS", "my-machine"
    help = """List the machines of the catalog, what clouds rent as a whole: all, or those of a cloud or a GPU.

    The JSON is a catalog again: what is printed can be edited and given back as --catalog.
    """
    shows = "Show all that the catalog says of one machine."

    def entries(self, catalog: Catalog) -> Sequence[Any]:
        return catalog.machines

    def entry(self, catalog: Catalog, name: str) -> Any:
        return catalog.machine(name)

    def words(self, entry: Any) -> Sequence[str]:
        return entry.name, *entry.aliases, entry.provider, entry.gpu

    def document(self, entries: Sequence[Any]) -> str:
        from planner.report.documents import machines_document

        return machines_document(entries)

    def table(self, entries: Sequence[Any]) -> Any:
        from planner.report.catalog.machines import MachineList

        return MachineList(entries)

    def card(self, catalog: Catalog, entry: Any) -> Any:
        from planner.report.catalog.machines import MachineCard

        return MachineCard(entry)


machines = _Machines().command()
