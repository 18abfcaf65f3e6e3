"""Defines what search and answers ask of a model on a cluster; the derived model and profiles by replays answer it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from hardware import Cluster
from planner.memory.settings.work import Work
from planner.memory.step.footprint import Footprint
from planner.memory.step.traffic import Traffic
from strategies import Strategy


class StepMemory(Protocol):
    """Memory and work of training steps of a model at one sequence length on one cluster."""

    cluster: Cluster

    @property
    def sequence_length(self) -> int:
        """Tokens per sequence."""
        ...

    @property
    def real_tokens(self) -> int:
        """Tokens of a sequence that are not padding, on average."""
        ...

    @property
    def is_cheap(self) -> bool:
        """Whether another length or cluster costs nothing to ask about."""
        ...

    def at_hand(self) -> StepMemory:
        """Returns the same, which refuses the strategies that it would take long to find out about."""
        ...

    def on(self, cluster: Cluster) -> StepMemory:
        """Returns the same model on another cluster."""
        ...

    def at(self, sequence_length: int) -> StepMemory:
        """Returns the same model at another sequence length, in tokens."""
        ...

    def violation(self, strategy: Strategy) -> str | None:
        """Says why the model cannot be trained with a strategy; None if it can."""
        ...

    def footprint(self, strategy: Strategy, micro_batches: int) -> Footprint:
        """Returns the memory of a strategy on one rank.

        Args:
            strategy: A strategy that the model can be trained with.
            micro_batches: Micro-batches per optimizer step; gradients exist while all but the first run.
        """
        ...

    def least_process_bytes(self, strategy: Strategy, micro_batches: int) -> int:
        """Returns bytes that `footprint` takes of the GPU at any micro-batch, or fewer, without the work that it takes.

        Args:
            strategy: A strategy that the model can be trained with.
            micro_batches: Micro-batches per optimizer step.
        """
        ...

    def work(self, strategy: Strategy) -> Work:
        """Returns the work of forward and backward of one micro-batch: FLOPs and bytes moved, fixed and per sample."""
        ...

    def recomputation(self, strategy: Strategy) -> Work:
        """Returns the part of `work` that computes forward again."""
        ...

    def traffic(self, strategy: Strategy) -> Traffic:
        """Returns the bytes that one rank exchanges with others and moves in the optimizer step."""
        ...


@runtime_checkable
class Foreseeing(Protocol):
    """A model that answers several questions at once sooner than one after the other."""

    def foresee(self, strategies: Iterable[Strategy]) -> None:
        """Is told which strategies will be asked about."""
        ...
