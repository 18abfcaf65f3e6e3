"""Writes a replay as a torch memory snapshot, for pytorch.org/memory_viz and `python -m torch.cuda._memory_viz`.

The format is that of `torch.cuda.memory._snapshot()` (torch/cuda/memory.py, torch/csrc/cuda/Module.cpp). The record
runs from the process's first weight to the end of the last step, or to the first request that does not fit.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

from planner.allocator.block import Block
from planner.allocator.expandable import ExpandableAllocator
from planner.allocator.native import CachingAllocator, OutOfMemoryError
from planner.replay.recording.serve import categories_of
from planner.replay.recording.timeline import block_of
from planner.replay.recording.trace import Section, Trace

PROTOCOL = 4
"""The newest pickle protocol that the viewer reads (torch/utils/viz/MemoryViz.js, `unpickle`)."""

NO_CATEGORY = "unknown"
"""The category of segments. The viewer fails if it is not among the categories (MemoryViz.js, `annotate_snapshot`)."""

_DEVICE = {"device": 0}
_STREAM = {"stream": 0}
_SETTINGS = {
    "max_split_size": -1,
    "garbage_collection_threshold": 0.0,
    "pinned_num_register_threads": 1,
    "release_lock_on_cudamalloc": False,
    "pinned_use_cuda_host_register": False,
    "roundup_power2_divisions": {},
}
"""The allocator's default settings, with which the trace is served; only the kind of its segments varies."""


def pickled_snapshot(trace: Trace, kind: type[CachingAllocator], limit_bytes: int) -> bytes:
    """Returns the content of the file that `torch.cuda.memory._dump_snapshot` would write.

    Args:
        trace: The trace of a replay.
        kind: The allocator that serves the trace.
        limit_bytes: The most bytes that the allocator can reserve.
    """
    return pickle.dumps(snapshot_of(trace, kind, limit_bytes), protocol=PROTOCOL)


def snapshot_of(
    trace: Trace, kind: type[CachingAllocator] = CachingAllocator, limit_bytes: int | None = None
) -> dict[str, Any]:
    """Returns the snapshot as `torch.cuda.memory._snapshot` would.

    In place of a Python stack, each allocation has two frames: the first says phase, block and name of the tensor, the
    second says phase and memory category.

    Args:
        trace: The trace of a replay.
        kind: The allocator that serves the trace.
        limit_bytes: The most bytes that the allocator can reserve; None for no limit.
    """
    return _Recorder(trace, kind, limit_bytes).snapshot()


class _Use(NamedTuple):
    """Says who requested a block, and how many bytes were requested."""

    requested_bytes: int
    frames: list[dict[str, Any]]
    category: str


class _Recorder:
    """Serves a trace and records the allocator's actions."""

    def __init__(self, trace: Trace, kind: type[CachingAllocator], limit_bytes: int | None) -> None:
        self.trace, self.categories = trace, categories_of(trace)
        self.allocator = kind(limit_bytes, self._observe)
        self.expandable = issubclass(kind, ExpandableAllocator)
        self.entries: list[dict[str, Any]] = []
        self.needed: dict[int, list[dict[str, Any]]] = {}
        """Frames of the request for which a segment was allocated, by the segment's address."""
        self.used: dict[int, _Use] = {}
        """Uses of the allocated blocks, by the block's address."""
        self.now = _Use(0, [], NO_CATEGORY)
        """The request that the allocator is serving."""
        self._frames = cache(_frames)  # equal frames are one list, which the pickle stores only once

    def snapshot(self) -> dict[str, Any]:
        """Serves the whole trace and returns the snapshot."""
        try:
            self.allocator.run(self._requests())
        except OutOfMemoryError:
            limit = self.allocator.limit_bytes or 0
            self._enter("oom", self.now, size=self.now.requested_bytes, device_free=limit - self.allocator.reserved)
        kind = f"expandable_segments:{self.expandable}"
        return {
            "segments": [self._segment(first) for first in self.allocator.segments()],
            "device_traces": [self.entries],
            "allocator_settings": {
                "PYTORCH_CUDA_ALLOC_CONF": kind,
                "expandable_segments": self.expandable,
                **_SETTINGS,
            },
            "external_annotations": [],
        }

    def _requests(self) -> Iterator[tuple[int, int]]:
        """Yields the trace's (storage, bytes) for the allocator, and keeps `now` up to date."""
        for section in self.trace.sections:
            for storage, size, _ in section.events:
                frames = self._frames(_place(section), self.trace.labels[storage].name, self.categories[storage])
                self.now = _Use(abs(size), frames, self.categories[storage])
                yield storage, size

    def _observe(self, action: str, block: Block, size: int) -> None:
        """Records an action of the allocator; see `planner.allocator.native.Observer`."""
        if action == "alloc":
            self.used[block.address] = self.now
            self._enter("alloc", self.now, addr=block.address, size=size)
        elif action == "free":
            size = self.used.pop(block.address).requested_bytes
            for part in ("free_requested", "free_completed"):  # both at once: there is only one stream
                self._enter(part, self.now, addr=block.address, size=size)
        else:
            if action in ("segment_alloc", "segment_map"):
                self.needed[block.address] = self.now.frames
            self._enter(action, self.now._replace(category=NO_CATEGORY), addr=block.address, size=size)

    def _enter(self, action: str, use: _Use, **fields: int) -> None:
        """Appends an entry to the record. A replay has no clock: its time is the number of the entry."""
        about = {"time_us": len(self.entries), "frames": use.frames, "category": use.category}
        self.entries.append({"action": action, **fields, **_STREAM, **about})

    def _segment(self, first: Block) -> dict[str, Any]:
        blocks = [self._block(block) for block in _chain(first)]
        active = [block for block in blocks if block["state"] == "active_allocated"]
        in_use = sum(block["size"] for block in active)
        return {
            **_DEVICE,
            "address": first.address,
            "total_size": sum(block["size"] for block in blocks),
            "allocated_size": in_use,
            "active_size": in_use,
            "requested_size": sum(block["requested_size"] for block in active),
            **_STREAM,
            "segment_type": "small" if first.small else "large",
            "segment_pool_id": (0, 0),
            "is_expandable": self.expandable,
            "frames": self.needed.get(first.address, []),
            "blocks": blocks,
        }

    def _block(self, block: Block) -> dict[str, Any]:
        use = self.used.get(block.address, _Use(0, [], NO_CATEGORY))
        return {
            "address": block.address,
            "size": block.size,
            "requested_size": use.requested_bytes,
            "state": "inactive" if block.free else "active_allocated",
            "frames": use.frames,
        }


def _chain(first: Block) -> Iterator[Block]:
    """Yields the blocks of a segment from the first one on, up to the end of the mapped addresses."""
    block: Block | None = first
    while block is not None and block.mapped:
        yield block
        block = block.next


def _place(section: Section) -> str:
    return f"step {section.step}/{section.phase.value}"


def _frames(place: str, name: str, category: str) -> list[dict[str, Any]]:
    """Returns the frames of a stack, innermost first: the file is step and phase, the line is the block's number."""
    return [
        {"filename": place, "line": block_of(name) or 0, "name": name},
        {"filename": place, "line": 0, "name": category},
    ]
