"""Knows on which of a GPU's streams a step is, by the streams that torch keeps for the CPU in its place."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch

from planner.allocator.streams import Stream

SHARED: set[int] = set()
"""Addresses of torch's storage objects that another stream uses than the one on which they were allocated."""
_NAMES: WeakKeyDictionary[Any, Stream] = WeakKeyDictionary()


def name_stream(stream: Any, name: Stream) -> None:
    """Gives one of torch's streams a name; streams without one count as the compute stream."""
    _NAMES[stream] = name


def current_stream() -> Stream:
    """Returns the stream on which torch would allocate now."""
    if not _NAMES:
        return Stream.COMPUTE
    return _NAMES.get(torch.cpu.current_stream(), Stream.COMPUTE)


def share(tensor: torch.Tensor, stream: Any) -> None:
    """Notes that another stream uses a tensor, in place of `record_stream`."""
    SHARED.add(tensor.untyped_storage()._cdata)
