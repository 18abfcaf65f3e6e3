"""What search and answers ask of a model on a cluster, whoever knows it: the derived model or profiles by replays."""

from __future__ import annotations

from typing import Protocol

from hardware import Cluster
from planner.memory.settings.parts import Work
from planner.memory.step.footprint import Footprint
from planner.memory.step.time import Traffic
from strategies import Strategy


class StepMemory(Protocol):
    """A model at one sequence length on one cluster."""

    cluster: Cluster

    @property
    def sequence_length(self) -> int: ...

    @property
    def real_tokens(self) -> int:
        """Of a sequence, those that are no padding, on average."""
        ...

    @property
    def is_cheap(self) -> bool:
        """Whether another length or number of ranks costs nothing to ask about."""
        ...

    def on(self, cluster: Cluster) -> StepMemory: ...
    def at(self, sequence_length: int) -> StepMemory: ...
    def violation(self, strategy: Strategy) -> str | None:
        """Why the model cannot be trained so."""
        ...

    def footprint(self, strategy: Strategy, *, accumulates: bool) -> Footprint:
        """`accumulates`: more than one micro-batch per optimizer step, so gradients exist while later ones run."""
        ...

    def work(self, strategy: Strategy) -> Work:
        """Of one micro-batch, forward and backward."""
        ...

    def traffic(self, strategy: Strategy) -> Traffic:
        """Bytes that one rank exchanges with others and moves in the optimizer step."""
        ...
