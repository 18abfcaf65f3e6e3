"""Knows on which of a GPU's streams a step is, by the streams that torch keeps for the CPU in its place."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch

from planner.allocator.streams import Stream

USERS: dict[int, set[Stream]] = {}
"""The streams that are noted to use a storage, by the address of torch's storage object."""
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
    """Notes that a stream uses a tensor, in place of `record_stream`; it can be the one on which it was allocated."""
    USERS.setdefault(tensor.untyped_storage()._cdata, set()).add(_NAMES.get(stream, Stream.COMPUTE))
