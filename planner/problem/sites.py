"""Finds the machines that a request means which names several: GPUs and machines, groups of them, several counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hardware import GPU, Catalog
from hardware.errors import shown
from hardware.names.named import name_key
from planner.problem.site import Site, without_count
from planner.records.asked.axes import RequestError, whole

ANY: Final = "any"
"""Name that stands for all GPUs of the catalog."""
MACHINES: Final = "machines"
"""Name that stands for all machines of the catalog; the name of a provider stands for all of its machines."""

Names = str | GPU | Sequence[str | GPU]
Counts = int | Sequence[int] | None


def names_of(gpu: Names) -> list[str | GPU]:
    """Returns the names that are given: one, several with commas between them, or a sequence."""
    given = [gpu] if isinstance(gpu, str | GPU) else list(gpu)
    split = [part for name in given for part in (name.split(",") if isinstance(name, str) else [name])]
    return [part.strip() if isinstance(part, str) else part for part in split]


def are_several(gpu: Names, gpus: Counts, nodes: Counts, catalog: Catalog) -> bool:
    """Returns whether more than one machine is asked for."""
    names = names_of(gpu)
    several = len(names) > 1 or any(isinstance(counts, Sequence) and len(counts) > 1 for counts in (gpus, nodes))
    if several:
        return True
    name, _ = without_count(names[0], None, catalog)
    return isinstance(name, str) and _group(name, catalog) is not None


def sites_of(gpu: Names, catalog: Catalog, gpus: Counts, nodes: Counts) -> list[tuple[Site, int]]:
    """Returns each kind of node with each number of nodes, once.

    Several nodes are of the largest number of GPUs only: nobody rents more nodes before one is full.

    Args:
        gpu: Names of GPUs and machines, sizes, `any`, `machines`, or the name of a provider; `8xH100` says how many a
            node has.
        catalog: Where names are looked up.
        gpus: Numbers of GPUs per node; machines of a group that have another number are left out.
        nodes: Numbers of nodes.

    Raises:
        RequestError: A number is no positive whole number.
        PlannerError: A name is unknown, or a machine that is named has another number of GPUs.
    """
    counts, numbers = _numbers("gpus", gpus), _numbers("nodes", nodes) or (1,)
    found = [site for name in names_of(gpu) for site in _sites(name, catalog, counts)]
    most = {site.gpu.name: max(other.gpus for other in found if other.gpu is site.gpu) for site in found}
    several = [
        (site, number)
        for site in found
        for number in numbers
        if number == 1 or site.machine or site.gpus == most[site.gpu.name]
    ]
    return list({(site.name, site.gpus, number): (site, number) for site, number in several}.values())


def _sites(named: str | GPU, catalog: Catalog, counts: tuple[int, ...]) -> Iterator[Site]:
    name, number = without_count(named, None, catalog)
    if number is not None:
        for count in counts:
            without_count(named, count, catalog)
        counts = (number,)
    group = _group(name, catalog) if isinstance(name, str) else None
    if group is not None:
        for site in group:
            if site.machine is None:
                yield from (site._replace(gpus=count) for count in counts or (1,))
            elif not counts or site.gpus in counts:
                yield site
    elif isinstance(name, str) and catalog.find_machine(name) is not None and len(counts) > 1:
        site = Site.of(name, catalog, None)
        yield from [site] if site.gpus in counts else [Site.of(name, catalog, counts[0])]
    else:
        yield from (Site.of(name, catalog, count) for count in counts or (None,))


def _group(name: str, catalog: Catalog) -> list[Site] | None:
    """Returns the sites that a name of a group stands for; None if it is no such name."""
    if name.casefold() == ANY:
        return [Site(gpu, 1) for gpu in catalog.gpus]
    asked = name_key(name)
    if asked in catalog.name_keys():
        return None
    machines = [m for m in catalog.machines if asked in (MACHINES, name_key(m.provider))]
    return [Site(catalog.get(m.gpu), m.gpus, m) for m in machines] or None


def _numbers(name: str, counts: Counts) -> tuple[int, ...]:
    """Returns the numbers that are given, smallest first; none for None."""
    given = [] if counts is None else list(counts) if isinstance(counts, Sequence) else [counts]
    numbers = [whole(count) for count in given]
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise RequestError(f"{name} is {shown(number)}, not a positive whole number", f"{name}=1 for a single one")
    return tuple(sorted(set(numbers)))
