"""The axis of activation checkpointing: what is dropped in forward and computed again in backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from strategies.axis import Axis, Choice, Option, Values, WholeNumbers


class CheckpointingFacts(NamedTuple):
    """What happens to a block in forward. `recomputes`: it is dropped, all but its input, and computed again in
    backward."""

    recomputes: bool = True


class Checkpointing(Choice):
    """`full`: non-reentrant; only a block's input is kept (`gradient_checkpointing=True` in Trainer)."""

    facts: CheckpointingFacts

    NONE = "none", "every activation is kept", CheckpointingFacts(recomputes=False)
    FULL = "full", "every block is recomputed in backward", CheckpointingFacts()


@dataclass(frozen=True, slots=True)
class Checkpoints:
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
    return Checkpoints(values["checkpointing"], values.get("checkpoint_every") or 1)


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
            (Checkpointing.FULL,),
        ),
    ),
    _join,
    _split,
)
