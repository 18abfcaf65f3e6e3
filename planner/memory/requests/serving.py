"""Serves requests by the allocator's model, some at a time."""

from __future__ import annotations

from planner.allocator.kinds import KINDS
from planner.allocator.native import OutOfMemoryError
from planner.allocator.streamed import StreamedAllocator
from planner.memory.requests.requests import Requests
from strategies import Allocator


class Serving:
    """Serves requests from the first on.

    Args:
        requests: The requests, of which more can follow.
        allocator: The kind of allocator.
        limit_bytes: Bytes that it may reserve; None for no limit.
    """

    def __init__(self, requests: Requests, allocator: Allocator, limit_bytes: int | None) -> None:
        self._requests = requests
        self._server = StreamedAllocator(KINDS[allocator](limit_bytes), requests.streams)
        self._served = self._waited = 0

    @property
    def peaks(self) -> tuple[int, int]:
        """The largest bytes in allocated blocks since loading, and in segments."""
        return self._server.peak_allocated, self._server.peak_reserved

    @property
    def retries(self) -> int:
        """How often cached segments were given back to serve a request."""
        return self._server.retries

    def serve(self, end: int) -> bool:
        """Serves the requests before number `end` that are left, and returns whether all of them fit."""
        requests, server = self._requests, self._server
        try:
            while self._waited < len(requests.waits) and requests.waits[self._waited] <= end:
                self._run(requests.waits[self._waited])
                server.catch_up()
                self._waited += 1
            self._run(end)
        except OutOfMemoryError:
            return False
        if end == requests.loaded:
            server.peak_allocated = server.allocated
        return True

    def _run(self, end: int) -> None:
        self._server.run(self._requests.made[self._served : end])
        self._served = end
