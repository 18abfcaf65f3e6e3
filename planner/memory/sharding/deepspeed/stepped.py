"""Computes what the optimizer step of ZeRO keeps and allocates: fp32 weights, states, flat copies of gradients.

Sources: deepspeed/runtime/zero/stage_1_and_2.py and stage3.py, `step`; DeepSpeed 0.19.8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from planner.libraries.allocator import allocated
from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.deepspeed.flat import Flat, Owned
from planner.memory.sharding.deepspeed.offloaded import norms, small_shares
from planner.memory.sharding.deepspeed.reduced import kept_gradients
from planner.memory.sharding.optimizers import OptimizerRule, rule_of
from strategies import AnyOptimizer, Zero

FP64 = 8


class Subgroup(NamedTuple):
    """A flat tensor that the optimizer steps on its own, on one rank."""

    elements: int
    parts: int
    """Number of tensors of which its gradient is put together."""
    largest: int
    """Elements of the largest of them."""


class FlatOptimizer:
    """Computes the bytes of the optimizer's states and of its step on flat tensors.

    It has the attributes of `planner.memory.sharding.partition.Partition`.

    Args:
        units: The parameters of each part.
        optimizer: The optimizer.
        sharding: How the model is divided, with all sizes filled in.
        world_size: The number of ranks.
        master_itemsize: Bytes per element of the weights that the optimizer steps.
        checks_overflow: Whether gradients are looked through for what is infinite or no number, as in fp16.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        optimizer: AnyOptimizer,
        sharding: Zero,
        world_size: int,
        master_itemsize: int,
        *,
        checks_overflow: bool = False,
    ) -> None:
        self.rule: OptimizerRule[object] = rule_of(optimizer)
        self.sharding, self.flat, self.itemsize = sharding, Flat(units, world_size), master_itemsize
        self.checks_overflow = checks_overflow

    @property
    def masters(self) -> int:
        """Bytes of the weights that the optimizer steps, of one rank, wherever they are."""
        return sum(allocated(s.elements * self.itemsize) for s in self.subgroups(0))

    @property
    def states(self) -> int:
        """Bytes of one rank's masters and optimizer states, wherever they are."""
        tensors = [self._tensor(s.elements) for s in self.subgroups(0)]
        return self.masters + self.rule.resident([(tensors, 1)], 1)

    @property
    def moved(self) -> tuple[int, int]:
        """(bytes between GPU and host, FLOPs) of the optimizer step; from the host this rank's weights come back."""
        if self.sharding.steps_on_host:
            returned = 0 if self.sharding.on_host else sum(s.elements for s in self.subgroups(0)) * self.flat.itemsize
            return returned, 0
        return self.rule.moved([([self._tensor(s.elements) for s in self.subgroups(0)], 1)], 1)

    def _tensor(self, elements: int) -> TrainedTensor:
        return TrainedTensor((elements,), elements, self.itemsize, False, self.itemsize)

    def subgroups(self, rank: int) -> list[Subgroup]:
        """Returns the flat tensors that a rank steps, in order."""
        if self.sharding.stage == 3:
            return [self._of_shares(group) for group in self.divided()]
        found = []
        for size, pieces in zip(self.flat.sizes, self.flat.pieces(rank), strict=True):
            elements = [piece.elements for piece in pieces]
            padding = size - sum(elements)
            found.append(Subgroup(size, len(elements) + bool(padding), max(elements, default=0)))
        return found

    def divided(self) -> Iterator[list[Owned]]:
        """Yields the parameters of each sub-group of ZeRO-3 (stage3.py, `_create_fp16_sub_groups`)."""
        for group in self.flat.groups:
            found: list[Owned] = []
            size = 0
            for parameter in group:
                found.append(parameter)
                size += self.flat.share(parameter)
                if size >= self.sharding.sub_group_size:
                    yield found
                    found, size = [], 0
            if found:
                yield found

    def _of_shares(self, group: Sequence[Owned]) -> Subgroup:
        shares = [self.flat.share(p) for p in group]
        return Subgroup(sum(shares), len(shares), max(shares))

    def peak(self, rank: int, persistent: int) -> tuple[int, int]:
        """Returns the (bytes of gradients, other bytes) at the peak of the step, beside what stays.

        Args:
            rank: The rank.
            persistent: Bytes of small parameters that ZeRO-3 keeps gathered, but frees for the step.
        """
        groups, flat = self.subgroups(rank), self.flat
        if self.sharding.steps_on_host:
            return 0, norms(flat, rank, divided=self.sharding.stage == 3) + small_shares(flat, self.sharding)
        kept = kept_gradients(flat, rank) if self.sharding.stage < 3 else -persistent
        found = [kept + allocated(max(s.largest for s in groups) * FP64)]  # norms in fp64 (zero/utils.py)
        if self.checks_overflow and self.sharding.stage == 3:
            # stage3.py, `has_overflow`: `isinf` of all shares is `abs() == inf` (ATen/native/TensorCompare.cpp)
            shares = sum(s.elements for s in groups)
            found.append(kept + allocated(shares * flat.itemsize) + allocated(shares))
        last = max(i for i, s in enumerate(groups) if s.parts)
        for i, subgroup in enumerate(groups):
            copied = allocated(subgroup.elements * flat.itemsize) if subgroup.parts > 1 else 0
            wider = flat.itemsize < self.itemsize
            gradient = allocated(subgroup.elements * self.itemsize) if wider else copied
            found.append(kept + copied + (gradient if wider else 0))
            held = kept if i < last or self.sharding.stage == 3 or not (wider or copied) else 0
            found.append(held + gradient + self.rule.temporaries([([self._tensor(subgroup.elements)], 1)], 1))
        gradients = max(kept, 0)
        return gradients, max(0, *found) - gradients
