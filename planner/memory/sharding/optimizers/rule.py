"""What the rules of all optimizers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Generic, TypeVar

from planner.memory.sharding.optimizers.locals import Locals
from planner.memory.sharding.state import TrainedTensor

F = TypeVar("F")
Groups = Sequence[tuple[Sequence[TrainedTensor], int]]
"""Tensors of equal parts, in the model's order, and how many such parts there are."""


class Kept(Generic[F]):
    """What an optimizer with such facts keeps and allocates; this one does neither."""

    passes: ClassVar[tuple[Callable[[TrainedTensor], bool], ...]] = (lambda t: True,)
    """Which tensors are in each of its parameter groups, in the order in which it steps them."""

    def __init__(self, facts: F) -> None:
        self.facts = facts

    def states(self, tensor: TrainedTensor) -> int:
        """Bytes of a tensor's states on the GPU, which are divided where the tensor is sharded."""
        return 0

    def counts(self, tensor: TrainedTensor) -> int:
        """Bytes beside them that every rank keeps whole."""
        return 0

    def tables(self, tensors: Iterable[TrainedTensor]) -> int:
        """Bytes that all tensors share."""
        return 0

    def host(self, tensor: TrainedTensor) -> int:
        """Bytes that a step moves between GPU and host."""
        return 0

    def flops(self, tensor: TrainedTensor) -> int:
        """Of matrix products in half precision."""
        return 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """What the step of one tensor assigns to its local variables."""

    def resident(self, groups: Groups, ranks: int, *, apart: bool = False) -> int:
        """Bytes of all states on one of the ranks that share them. `apart`: each tensor has an optimizer of its own."""
        states = sum(n * sum(map(self.states, tensors)) for tensors, n in groups)
        counts = sum(n * sum(map(self.counts, tensors)) for tensors, n in groups)
        if apart:
            tables = sum(n * self.tables([t]) for tensors, n in groups for t in tensors)
        else:
            tables = self.tables(t for tensors, _ in groups for t in tensors)
        return -(-states // ranks) + counts + tables

    def moved(self, groups: Groups, ranks: int) -> tuple[int, int]:
        """Bytes between one of the ranks and its host in a step, and its FLOPs."""
        host = sum(n * sum(map(self.host, tensors)) for tensors, n in groups)
        flops = sum(n * sum(map(self.flops, tensors)) for tensors, n in groups)
        return host // ranks, flops // ranks

    def temporaries(self, groups: Groups, ranks: int) -> int:
        """Bytes at the peak of a whole step, on one of the ranks that share the tensors. Local variables
        live on from tensor to tensor: of equal parts two tell what the others do."""
        names = Locals(ranks)
        for is_stepped in self.passes:
            for tensors, count in groups:
                for _ in range(min(count, 2)):
                    for tensor in filter(is_stepped, tensors):
                        self.step(tensor, names)
        return names.peak

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        """Bytes at the peak of a step of that tensor alone."""
        names = Locals(ranks)
        self.step(tensor, names)
        return names.peak
