"""Makes the requests of FSDP1 while it wraps a model: whole units on the GPU, one after another, which leave shards.

What they leave free serves the compute stream alone, so that the step's gathered parameters need memory beside it: of a
small step this is most of what a process reserves. Weights come from the host, in the dtype of the computation, and the
first rank sends its own to all, as `accelerate launch` sets it (`sync_module_states`). Sources:
torch/distributed/fsdp/_init_utils.py, `_init_param_handle_from_module`; _flat_param.py, `shard` and
`init_flat_param_attributes`; accelerate/accelerator.py, `prepare_model`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from planner.libraries.allocator import allocated
from planner.memory.requests.requests import Requests
from planner.memory.sharding.account import Unit

BUCKET_BYTES = 250 * 2**20
"""Bytes from which on a bucket is broadcast (_init_utils.py, `PARAM_BROADCAST_BUCKET_SIZE`)."""
BROADCASTS = 2
"""Buckets that are broadcast at the same time (torch/csrc/distributed/c10d/comm.cpp, `broadcast_coalesced`)."""


class Wrapping:
    """Wraps the units of a model, and prepares them when the first forward begins.

    Args:
        requests: Takes the requests.
        groups: The parts of each unit in the order in which they are wrapped: blocks, then the root.
        ranks: The number of ranks that divide each flat parameter.
        on_host: Whether shards are moved to the host's memory.
    """

    def __init__(self, requests: Requests, groups: Sequence[Sequence[Unit]], ranks: int, *, on_host: bool) -> None:
        self._requests, self._groups, self._ranks, self._on_host = requests, groups, ranks, on_host
        self._low: dict[int, int] = {}
        """Shards in the dtype of the computation, by group; parameters are views of them until the group's first
        reshard (_flat_param.py, `_use_sharded_views`)."""

    @property
    def _from_root(self) -> Sequence[int]:
        """The numbers of the groups, the root first, as FSDP1 lists its modules (_traversal_utils.py)."""
        last = len(self._groups) - 1
        return [last, *range(last)]

    def wrap(self) -> int:
        """Makes the requests of wrapping, and returns the bytes of shards that stay on the GPU.

        Where parameters are offloaded each shard goes to the host before the next unit is wrapped (_init_utils.py,
        `_init_param_handle_from_params`).
        """
        kept, shards = 0, []
        for group in self._groups:
            for share in (share for unit in group for share in unit.shares[1:]):
                whole = share * self._ranks
                self._keep(self._flatten((whole,), whole))
                kept += allocated(share)
            shards.append(self._flatten(_joined(group), _gathered(group)))
            self._keep(shards[-1])
        if self._on_host:
            return 0
        for i in self._from_root:
            group = self._groups[i]
            kept += allocated(_stored(group))
            if _raised(group):
                self._requests.allocate(_stored(group))
                self._low[i] = shards[i]
        return kept

    def prepare(self) -> None:
        """Makes the requests of the first forward, which allocates what is gathered later once and frees it at once."""
        for group in (self._groups[i] for i in self._from_root):
            copy = _gathered(group) // self._ranks if self._on_host or _raised(group) else 0
            in_full = _stored(group) * self._ranks if _raised(group) else 0
            for num_bytes in (copy, _gathered(group), in_full):
                self._requests.release(self._requests.allocate(num_bytes))

    def reshard(self, group: int) -> None:
        """Releases what parameters of a group were views of before their first reshard."""
        self._requests.release(self._low.pop(group, 0))

    def _keep(self, shard: int) -> None:
        if self._on_host:
            self._requests.release(shard)

    def _flatten(self, sizes: Sequence[int], whole: int) -> int:
        """Moves parameters of these bytes to the GPU, sends and joins them, and returns the storage of a share.

        Args:
            sizes: Bytes of each parameter.
            whole: Bytes of the flat parameter, with its padding.
        """
        requests = self._requests
        moved = [self._move(size) for size in sizes]
        alone = self._send(sizes)
        flat = requests.allocate(whole)
        shard = requests.allocate(whole // self._ranks)
        requests.release(flat)
        for i, storage in enumerate(moved):
            (self._sent if i in alone else requests.release)(storage)
        return shard

    def _move(self, num_bytes: int) -> int:
        """Moves a parameter to the GPU, and returns its storage."""
        return self._requests.allocate(num_bytes)

    def _send(self, sizes: Sequence[int]) -> set[int]:
        """Sends parameters of these bytes by buckets, and returns the numbers of those that need no copy."""
        requests, flying, alone = self._requests, list[int](), set[int]()
        for start, end in _buckets(sizes):
            if len(flying) == BROADCASTS:
                self._sent(flying.pop(0))
            if end == start + 1:
                alone.add(start)
                continue
            flying.append(requests.allocate(sum(sizes[start:end])))
        for bucket in flying:
            self._sent(bucket)
        return alone

    def _sent(self, storage: int) -> None:
        """Releases what another stream has sent, which the compute stream has waited for."""
        self._requests.release(storage)


class WrappingFactory(Protocol):
    """Makes the wrapping of a model's units; the arguments are those of `Wrapping`."""

    def __call__(self, requests: Requests, groups: Sequence[Sequence[Unit]], ranks: int, *, on_host: bool) -> Wrapping:
        """Returns the wrapping, which has made no requests yet."""
        ...


def _buckets(sizes: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yields where each bucket of a broadcast begins and ends, in parameters."""
    start = 0
    for end in range(1, len(sizes) + 1):
        if sum(sizes[start:end]) >= BUCKET_BYTES or end == len(sizes):
            yield start, end
            start = end


def _joined(group: Sequence[Unit]) -> tuple[int, ...]:
    return tuple(num_bytes for unit in group for num_bytes in unit.joined)


def _gathered(group: Sequence[Unit]) -> int:
    return sum(unit.gathered_bytes for unit in group)


def _stored(group: Sequence[Unit]) -> int:
    """Returns the bytes of one rank's share of a flat parameter, as stored between steps."""
    return sum(unit.shares[0] for unit in group if unit.shares)


def _raised(group: Sequence[Unit]) -> bool:
    """Returns whether the flat parameter is raised to fp32, as accelerate does with what trains in mixed precision."""
    return any(unit.cast_bytes for unit in group)
