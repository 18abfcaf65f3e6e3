"""Holds what a node's processes take of its host memory, and solves it for the largest micro-batch."""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster, has_room
from planner.libraries.allocator import pinned
from planner.memory.memoized import counted
from planner.memory.settings.parts import Part
from planner.memory.sharding.host import OnHost


class Host(NamedTuple):
    """Host memory of one node as a function of the micro-batch size, in samples."""

    kept: OnHost = OnHost()
    """What one rank keeps there."""
    inputs: tuple[tuple[int, int], ...] = ()
    """Pairs of (bytes per sample, number of blocks) of inputs that wait there for backward, each in a pinned tensor."""
    ranks: int = 1
    """Number of ranks on the node."""
    limit_bytes: int | None = None
    """Bytes that the node has; None where unknown."""
    loading: int = 0
    """Bytes of the node while the model is loaded."""

    @classmethod
    def of(cls, kept: OnHost, parts: Sequence[Part], cluster: Cluster, loading: int = 0) -> "Host":
        """Returns the host memory of a node of a cluster.

        Args:
            kept: What one rank keeps.
            parts: The parts of a step whose inputs wait on the host; empty where none do.
            cluster: The cluster.
            loading: Bytes of a node while the model is loaded.
        """
        moved = ((part.forward_work.host_bytes_per_sample, number) for part, number in counted(tuple(parts)))
        inputs = tuple((per_sample, number) for per_sample, number in moved if per_sample)
        return cls(kept, inputs, cluster.gpus_per_node, cluster.host_memory_bytes, loading)

    def activations(self, micro_batch_size: int) -> int:
        """Returns the bytes of one rank's inputs of blocks that wait for backward."""
        return sum(blocks * pinned(per_sample * micro_batch_size) for per_sample, blocks in self.inputs)

    def node_bytes(self, micro_batch_size: int) -> int:
        """Returns the bytes that all ranks of the node take, in a step or while the model is loaded."""
        return max(self.ranks * (self.kept.total + self.activations(micro_batch_size)), self.loading)

    def fits(self, micro_batch_size: int) -> bool:
        """Returns whether the node has that much; True where what it has is unknown."""
        return has_room(self.limit_bytes, self.node_bytes(micro_batch_size))

    def largest_micro_batch(self, most: int) -> int:
        """Returns the largest micro-batch of at most `most` samples for which the node has room; 0 for none."""
        if most < 1 or not self.fits(1):
            return 0
        if self.fits(most):
            return most
        return bisect_right(range(1, most), False, key=lambda size: not self.fits(size))
