"""Says what a sampled reading of a GPU's memory sees of a run: where the GPU was full once, what was reserved after it.

The allocator gives cached memory back when a request does not fit, in the first step, and later steps need less than it
had reserved before. nvidia-smi is read once a second; what is reserved until then exists for a part of one.
"""

from __future__ import annotations

from planner.allocator.native import CachingAllocator, OutOfMemoryError
from planner.allocator.streamed import StreamedAllocator
from planner.memory.requests.requests import Requests


def sampled(requests: Requests, limit_bytes: int) -> int | None:
    """Returns the most bytes that are reserved after cached memory was given back last, or at all if it never was.

    Args:
        requests: All requests of a process.
        limit_bytes: Bytes that the allocator may reserve.

    Returns:
        The bytes, or None where a request does not fit.
    """
    server, waits, retries = StreamedAllocator(CachingAllocator(limit_bytes), requests.streams), set(requests.waits), 0
    try:
        for number, request in enumerate(requests.made):
            if number in waits:
                server.catch_up()
            server.run([request])
            if server.retries > retries:
                retries = server.retries
                server.reset_peaks()
    except OutOfMemoryError:
        return None
    return server.peak_reserved
