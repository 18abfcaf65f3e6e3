"""The axis of activation checkpointing: what is dropped in forward and computed again in backward."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from strategies.axis import Axis, Choice, Option, Values, WholeNumbers, given


class Operation(StrEnum):
    """Kinds of operators that compute much for what their results take, by torch's names."""

    MM = "mm"
    ADDMM = "addmm"
    """A product with a bias."""
    BMM = "bmm"
    """Eager attention's scores and output."""
    SDPA = "sdpa"
    """The fused kernels, flash and memory-efficient: output and log-sum-exp."""


class CheckpointingFacts(NamedTuple):
    """What happens to a block in forward. `recomputes`: it is dropped, all but its input, and computed again in
    backward. `keeps`: kinds of operators whose results stay, for the recomputation to take instead of computing them;
    of so many, the first (1: each). `offloads`: the input waits in the host's memory."""

    recomputes: bool = True
    offloads: bool = False
    keeps: Mapping[Operation, int] = MappingProxyType({})


class Checkpointing(Choice):
    """`full`: non-reentrant; only a block's input is kept (`gradient_checkpointing=True` in Trainer). The
    selective ones are policies for `create_selective_checkpoint_contexts` of torch.utils.checkpoint."""

    facts: CheckpointingFacts

    NONE = "none", "every activation is kept", CheckpointingFacts(recomputes=False)
    FULL = "full", "every block is recomputed in backward", CheckpointingFacts()
    SELECTIVE_MATMULS = (
        "selective-matmuls",
        "blocks are recomputed but for matrix products and fused attention, whose results are kept",
        CheckpointingFacts(keeps={Operation.MM: 1, Operation.ADDMM: 1, Operation.SDPA: 1}),
    )
    SELECTIVE_EVERY_SECOND_MATMUL = (
        "selective-every-second-matmul",
        "the same with every second product only, those with a bias left out (torchtitan's selective_ac_option op)",
        CheckpointingFacts(keeps={Operation.MM: 2, Operation.SDPA: 1}),
    )
    OFFLOAD = (
        "offload",
        "every block is recomputed, its input waits in pinned host memory (transformers' offload)",
        CheckpointingFacts(offloads=True),
    )

    @classmethod
    def open_to(cls) -> tuple[type, ...]:
        return (CheckpointingFacts,)


class Checkpoints(NamedTuple):
    """What becomes of each block. `every`: of so many blocks the first is checkpointed (transformers'
    `every_n_layers`)."""

    choice: Checkpointing = Checkpointing.NONE
    every: int = 1

    @property
    def recomputes(self) -> bool:
        return self.choice.facts.recomputes

    def cover(self, block: int) -> bool:
        """Whether the block of that number is checkpointed."""
        return self.recomputes and block % self.every == 0


def _join(values: Values) -> Checkpoints:
    return Checkpoints(values["checkpointing"], given(values, "checkpoint_every", 1))


def _split(checkpoints: Checkpoints) -> Values:
    every = {"checkpoint_every": checkpoints.every} if checkpoints.recomputes else {}
    return {"checkpointing": checkpoints.choice, **every}


AXIS = Axis(
    Option("checkpointing", Checkpointing, phrase="checkpointing {}"),
    (
        Option(
            "checkpoint_every",
            WholeNumbers(1, 1024, 2),
            "Checkpoints one of so many blocks, every block unless given.",
            "every {} blocks",
            1,
            tuple(choice for choice in Checkpointing if choice.facts.recomputes),
        ),
    ),
    _join,
    _split,
)
