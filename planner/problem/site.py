"""Finds what a request means by its GPU: a card of the catalog, a machine as clouds rent it, or a size of memory."""

from __future__ import annotations

from typing import NamedTuple

from hardware import GPU, Catalog, Cluster, Machine
from planner.records.asked.axes import RequestError, whole


def without_count(gpu: str | GPU, gpus: int | None, catalog: Catalog) -> tuple[str | GPU, int | None]:
    """Returns a GPU, and how many of it a node has, where a name may say both, as `8xH100` does.

    Args:
        gpu: A GPU, or a name.
        gpus: GPUs per node as asked for beside the name.
        catalog: Where names are looked up; those that it has are no numbers of others.

    Raises:
        RequestError: The name and `gpus` say different numbers.
    """
    if not isinstance(gpu, str) or catalog.find(gpu) is not None or catalog.find_machine(gpu) is not None:
        return gpu, gpus
    from hardware.names.counted import counted  # few names need it

    found = counted(gpu)
    if found is None:
        return gpu, gpus
    number, name = found
    if gpus is not None and whole(gpus) != number:
        raise RequestError(
            f"gpus is {gpus}, but {gpu.strip()} says {number} of them", "leave one of the two numbers out"
        )
    return name, number


class Site(NamedTuple):
    """Holds a GPU, how many of them a node has, and what the node is rented as, where that is known."""

    gpu: GPU
    gpus: int
    machine: Machine | None = None

    @classmethod
    def of(cls, gpu: str | GPU, catalog: Catalog, gpus: int | None) -> Site:
        """Returns what a name stands for.

        Args:
            gpu: A GPU, or a name: of a GPU, of a machine, or a size such as `24GiB` for a card that is not listed;
                `8xH100` says how many of them as well.
            catalog: Where names are looked up.
            gpus: GPUs per node as asked for; None for as many as the machine has, or else one.

        Raises:
            RequestError: The machine has another number of GPUs than what is asked for, or the name says another one.
            UnknownNameError: The catalog has no such GPU or machine.
        """
        gpu, gpus = without_count(gpu, whole(gpus), catalog)
        machine = catalog.find_machine(gpu) if isinstance(gpu, str) else None
        if machine is None:
            return cls(gpu if isinstance(gpu, GPU) else catalog.get(gpu), 1 if gpus is None else gpus)
        if gpus is not None and gpus != machine.gpus:
            raise RequestError(
                f"gpus is {gpus}, but {machine.name} has {machine.gpus}, and is rented as a whole",
                f"leave --gpus out, add --nodes, or --gpu {machine.gpu} --gpus {gpus}",
            )
        return cls(catalog.get(machine.gpu), machine.gpus, machine)

    @property
    def name(self) -> str:
        """Returns the name of the machine, or else of the GPU."""
        return self.machine.name if self.machine else self.gpu.name

    def cluster(self, nodes: int, host_bytes: int | None) -> Cluster:
        """Returns a cluster of nodes of this kind; host memory that is None is the machine's, or what is usual."""
        return Cluster(self.gpu, self.gpus, nodes, host_bytes, self.machine)
