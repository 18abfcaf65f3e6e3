"""Tells the storages that stand for the host's memory from those of the GPU."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Host:
    """Holds the storages that stand for the host's memory.

    Attributes:
        allocates: Whether what is allocated now stands for it.
    """

    def __init__(self) -> None:
        self._storages: set[int] = set()
        """Addresses of the storages."""
        self.allocates = False

    def add(self, storage: torch.UntypedStorage) -> None:
        """Says that a storage stands for the host's memory from now on."""
        self._storages.add(storage._cdata)
        weakref.finalize(storage, self._storages.discard, storage._cdata)

    def __contains__(self, storage: torch.UntypedStorage) -> bool:
        return storage._cdata in self._storages

    @contextmanager
    def allocating(self) -> Iterator[None]:
        """Says that what is allocated while the context lasts stands for the host's memory."""
        self.allocates = True
        try:
            yield
        finally:
            self.allocates = False
