"""Keeps account of the storages that are alive in a step, and writes their allocations and frees as a trace."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch

from planner.replay.recording.host import Host
from planner.replay.recording.streams import USERS, current_stream
from planner.replay.recording.tensors import local
from planner.replay.recording.trace import EMPTY_CACHE, Event, Label, Phase, Place, Scope, Section, Trace, Work


class Live(NamedTuple):
    """Describes a live storage: its number in the trace, its bytes in whole blocks, and where it was allocated."""

    storage: int
    size: int
    scope: Scope | None


_NOTHING = Live(0, 0, None)
"""Stands for a storage that is not alive."""


class Storages:
    """Keeps account of live storages.

    Args:
        block_bytes: What the device's allocator rounds sizes up to, in bytes.

    Attributes:
        trace: The trace so far.
        work: The trace's work by section and block, once the recording has ended.
        scope: The block of the model where the step is now; set by the code that runs the step.
        path: The module where the step is now; set likewise.
    """

    def __init__(self, block_bytes: int) -> None:
        super().__init__()
        self.block_bytes = block_bytes
        self.work: dict[Place, Work] = {}
        self.trace = Trace([], {}, self.work)
        self.scope: Scope | None = None
        self.path = ""
        self._section, self._phase = -1, Phase.LOADING
        self._events: list[Event] = []
        """Events of the last section."""
        self._live: dict[int, Live] = {}
        """Live storages, by the address of torch's storage object."""
        self._ends: dict[int, weakref.ref[torch.UntypedStorage]] = {}
        """What tells that a storage ends, by its address."""
        self._homes: dict[int, Scope | None] = {}
        """The block to which a storage belongs, by the storage's number."""
        self._cleared: list[Live] | None = None
        """Storages freed while autocast clears its cache; None at other times."""
        self._listed: set[int] = set()
        """Storages that an optimizer's operator on lists made, one for each parameter; they are freed as a list."""
        self._storages = 0
        self._host = Host()

    def enter(self, phase: Phase, step: int) -> None:
        """Starts a section of the trace: the events that follow belong to this phase and step."""
        self._section, self._phase, self._events = len(self.trace.sections), phase, []
        self.trace.sections.append(Section(phase, step, self._events))
        self.scope, self.path = None, ""

    def leave(self, tensor: torch.Tensor) -> None:
        """Says that a tensor's memory stands for the host's from now on."""
        storage = tensor.untyped_storage()
        self._drop(storage._cdata)
        self._host.add(storage)

    def disown(self, tensor: torch.Tensor) -> None:
        """Says that a tensor of this section has been in the host's memory from the start."""
        number = self.number(tensor)
        self.leave(tensor)
        if number:
            self._events[:] = [event for event in self._events if event.storage != number]

    def is_on_host(self, tensor: torch.Tensor) -> bool:
        """Returns whether a tensor's memory stands for the host's."""
        return tensor.untyped_storage() in self._host

    def hosting(self) -> AbstractContextManager[None]:
        """Says that what is allocated while the context lasts stands for the host's memory."""
        return self._host.allocating()

    def move(self, scope: Scope | None) -> None:
        """Says at which block the events that follow happen."""
        self.scope = scope

    def label(self, category: str, tensors: Iterable[tuple[str, torch.Tensor | None, Scope | None]]) -> None:
        """Names storages that are alive and assigns them to blocks.

        Args:
            category: Memory category of all of them.
            tensors: (name, tensor, block to which it belongs); None for the block means no block.
        """
        for name, tensor, scope in tensors:
            if tensor is not None and (number := self.number(tensor)):
                before = self.trace.labels.get(number, Label(None, ""))  # none of a storage without bytes
                self.trace.labels[number] = before._replace(category=category, name=name)
                self._homes[number] = scope

    def mark(self, tensor: torch.Tensor) -> None:
        """Marks this moment in a tensor's life, by an event without bytes."""
        if number := self.number(tensor):
            self._write(number, 0)

    def name(self, tensor: torch.Tensor) -> str:
        """Returns the name of a tensor's storage; an empty one if it is not alive."""
        return self.trace.labels.get(self.number(tensor), Label(None, "")).name

    def settle(self) -> None:
        """Moves the last section's events of storages with a category to the blocks to which these belong."""
        section = self.trace.sections[-1]
        for i, event in enumerate(section.events):
            if self.trace.labels[event.storage].category is not None:
                section.events[i] = event._replace(scope=self._homes.get(event.storage, event.scope))

    def allocate(self, size: int, label: Label) -> None:
        """Records an allocation of `size` bytes that no tensor shows and that is never freed."""
        self._write(self.invent(label), self.rounded(size))

    def empty_cache(self) -> None:
        """Records that the allocator gives back what is free."""
        self.trace.labels[EMPTY_CACHE.storage] = Label("overhead", "the cache is emptied")
        self._events.append(EMPTY_CACHE)

    def invent(self, label: Label) -> int:
        """Returns a new number for a storage that no tensor shows."""
        self._storages += 1
        self.trace.labels[self._storages] = label
        return self._storages

    def number(self, tensor: torch.Tensor) -> int:
        """Returns the number of a tensor's storage, 0 if it is not alive."""
        return self._live.get(local(tensor).untyped_storage()._cdata, _NOTHING).storage

    def rounded(self, num_bytes: int) -> int:
        """Rounds bytes up to whole blocks of the device's allocator."""
        return -(-num_bytes // self.block_bytes) * self.block_bytes

    def _hold(self, key: int, num_bytes: int, label: Label) -> None:
        """Records an allocation; storages without bytes are followed but leave no event."""
        size = self.rounded(num_bytes)
        self._storages += 1
        USERS.pop(key, None)  # of one before, at the same address, that was not followed to its end
        self._live[key] = Live(self._storages, size, self.scope)
        if size:
            self.trace.labels[self._storages] = label
            self._write(self._storages, size)

    def _watch(self, storage: torch.UntypedStorage, category: str | None, name: str) -> None:
        """Records a new storage, and watches for its end.

        Args:
            storage: The storage.
            category: Its memory category; None if its lifetime decides it.
            name: Name of what allocates it; in the trace, that of the module where the step is stands in front.
        """
        key = storage._cdata
        self._hold(key, storage.nbytes(), Label(category, f"{self.path} {name}".strip(), current_stream()))
        self._ends[key] = weakref.ref(storage, partial(self._end, key))

    def _hand_on(self, key: int, tensor: torch.Tensor) -> None:
        """Records that a tensor has the memory of a storage, which a real step would have written it into."""
        storage, live = tensor.untyped_storage(), self._live.get(key)
        if live is None or live.size != self.rounded(storage.nbytes()) or storage._cdata in self._live:
            self._drop(key)
            return
        self._live[storage._cdata] = self._live.pop(key)
        self._ends[storage._cdata] = weakref.ref(storage, partial(self._end, storage._cdata))

    def _end(self, key: int, end: object) -> None:
        """Records that a storage is not there any more."""
        del self._ends[key]
        self._drop(key)

    def _drop(self, key: int) -> None:
        """Records that a storage is freed.

        In the optimizer step, storages with a category and those freed as a list count for the block to which they
        belong, not for the block where the step is.
        """
        dropped = self._live.pop(key, _NOTHING)
        number, size, _ = dropped
        users = USERS.pop(key, None)
        if users and size:  # its own stream does not count (CUDACachingAllocator.cpp, `recordStream`)
            label = self.trace.labels[number]
            self.trace.labels[number] = label._replace(shared=bool(users - {label.stream}))
        if self._cleared is not None:
            self._cleared.append(dropped)
        elif size:
            if self._phase is Phase.OPTIMIZER and (
                number in self._listed or self.trace.labels[number].category is not None
            ):
                self.scope = self._homes.get(number, self.scope)
            self._write(number, -size)

    def _write(self, number: int, size: int) -> None:
        self._events.append(Event(number, size, self.scope))
