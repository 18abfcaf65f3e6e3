"""Defines the commands `planner gpus` and `planner gpus show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from planner.cli.arguments import GPU_NAME
from planner.cli.listing import Listing

if TYPE_CHECKING:
    from hardware import Catalog


class _GPUs(Listing):
    name, argument, example, part, mine = "gpus", GPU_NAME, "A100-40GB", "A100", "my-gpu"
    help = """List the GPUs of the catalog, all or those whose names, vendor or architecture hold a word.

    The JSON is a catalog again: what is printed can be edited and given back as --catalog.
    """
    shows = "Show everything that the catalog says about one GPU."

    def entries(self, catalog: Catalog) -> Sequence[Any]:
        return catalog.gpus

    def entry(self, catalog: Catalog, name: str) -> Any:
        return catalog.get(name)

    def words(self, entry: Any) -> Sequence[str]:
        return entry.name, *entry.aliases, entry.vendor, entry.architecture

    def document(self, entries: Sequence[Any]) -> str:
        from planner.report.documents import gpus_document

        return gpus_document(entries)

    def table(self, entries: Sequence[Any]) -> Any:
        from planner.report.catalog.gpus import GPUList

        return GPUList(entries)

    def card(self, catalog: Catalog, entry: Any) -> Any:
        from planner.report.catalog.gpus import GPUCard

        return GPUCard(entry, [machine for machine in catalog.machines if machine.gpu == entry.name])


gpus = _GPUs().command()
