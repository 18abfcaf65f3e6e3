"""Defines what the rules of all optimizers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Generic, TypeVar

from planner.memory.sharding.account import TrainedTensor
from planner.memory.sharding.optimizers.locals import Locals

F = TypeVar("F")
Groups = Sequence[tuple[Sequence[TrainedTensor], int]]
"""Pairs of (trained tensors of one part, number of equal parts), in the model's order."""


class OptimizerRule(Generic[F]):
    """Computes what an optimizer keeps and allocates.

    Subclasses do so for one kind of facts; this base class keeps and allocates nothing.

    Args:
        facts: The physical facts of the optimizer, from `strategies.optimizer`.
    """

    passes: ClassVar[tuple[Callable[[TrainedTensor], bool], ...]] = (lambda t: True,)
    """One predicate for each parameter group, in the order in which it steps them: whether a tensor is in the group."""

    def __init__(self, facts: F) -> None:
        self.facts = facts

    def states(self, tensor: TrainedTensor) -> int:
        """Returns the bytes of a tensor's states on the GPU, before they are divided where the tensor is sharded."""
        return 0

    steps_at_once: ClassVar[bool] = False
    """Whether the temporaries of all tensors exist at once."""

    def states_one_by_one(self, tensor: TrainedTensor) -> Sequence[int]:
        """Returns the bytes of each of a tensor's states on the GPU, which add up to `states`."""
        return [self.states(tensor)]

    def counts(self, tensor: TrainedTensor) -> int:
        """Returns the bytes that every rank keeps unsharded for a tensor, e.g. its step counter."""
        return 0

    def tables(self, tensors: Iterable[TrainedTensor]) -> int:
        """Returns the bytes of what all tensors of an optimizer share."""
        return 0

    def host(self, tensor: TrainedTensor) -> int:
        """Returns the bytes that a step moves between GPU and host for a tensor."""
        return 0

    def hosted(self, tensor: TrainedTensor) -> tuple[int, int, int]:
        """Returns the bytes of a tensor's copy, gradient and states that the optimizer keeps on the host."""
        return 0, 0, 0

    def flops(self, tensor: TrainedTensor) -> int:
        """Returns the FLOPs of a step's matrix products in half precision for a tensor."""
        return 0

    def step(self, tensor: TrainedTensor, names: Locals) -> None:
        """Assigns to `names` what the optimizer's step of one tensor assigns to its local variables."""

    def resident(self, groups: Groups, ranks: int, *, apart: bool = False) -> int:
        """Returns the bytes of all states on one of the ranks that share them.

        Args:
            groups: The trained tensors by part.
            ranks: The number of ranks that divide each tensor.
            apart: Whether each tensor has an optimizer of its own, so that each has its own tables.
        """
        states = sum(n * sum(map(self.states, tensors)) for tensors, n in groups)
        counts = sum(n * sum(map(self.counts, tensors)) for tensors, n in groups)
        if apart:
            tables = sum(n * self.tables([t]) for tensors, n in groups for t in tensors)
        else:
            tables = self.tables(t for tensors, _ in groups for t in tensors)
        return -(-states // ranks) + counts + tables

    def passes_over_memory(self) -> float:
        """Returns how many times the bytes are moved that one kernel for the whole step would move."""
        return 1.0

    def moved(self, groups: Groups, ranks: int) -> tuple[int, int]:
        """Returns the (bytes between GPU and host, FLOPs) of a step on one of the ranks that share the tensors."""
        host = sum(n * sum(map(self.host, tensors)) for tensors, n in groups)
        flops = sum(n * sum(map(self.flops, tensors)) for tensors, n in groups)
        return host // ranks, flops // ranks

    def on_host(self, groups: Groups) -> tuple[int, int, int]:
        """Returns the bytes of parameters, gradients and states that the optimizer keeps on the host."""
        found = [(n, *self.hosted(tensor)) for tensors, n in groups for tensor in tensors]
        return (
            sum(n * x for n, x, _, _ in found),
            sum(n * x for n, _, x, _ in found),
            sum(n * x for n, _, _, x in found),
        )

    def temporaries(self, groups: Groups, ranks: int) -> int:
        """Returns the bytes at the peak of a whole step, on one of the ranks that share the tensors.

        Local variables live on from tensor to tensor, so two of several equal parts are enough to find the peak.
        """
        names = Locals(ranks)
        for is_stepped in self.passes:
            for tensors, count in groups:
                for _ in range(min(count, 2)):
                    for tensor in filter(is_stepped, tensors):
                        self.step(tensor, names)
        return names.peak

    def temporaries_of(self, tensor: TrainedTensor, ranks: int = 1) -> int:
        """Returns the bytes at the peak of a step of that tensor alone, on one of the ranks that share it."""
        names = Locals(ranks)
        self.step(tensor, names)
        return names.peak
