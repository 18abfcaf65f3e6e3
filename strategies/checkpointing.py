"""Defines the axis of activation checkpointing: what forward drops and backward recomputes."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from strategies.axis import Axis, Option, Values, WholeNumbers, given
from strategies.choice import Choice


class Operation(StrEnum):
    """Names the kinds of operators that are slow to recompute for the size of their results, as torch calls them."""

    MM = "mm"
    ADDMM = "addmm"
    """Matrix product with a bias."""
    BMM = "bmm"
    """Batched product: the scores and the output of eager attention."""
    SDPA = "sdpa"
    """Fused attention, flash or memory-efficient; its results are the output and the log-sum-exp."""


class CheckpointingFacts(NamedTuple):
    """Says what happens to the activations of a block.

    Attributes:
        recomputes: Whether forward drops everything but the block's input, and backward recomputes it.
        offloads: Whether the block's input waits in host memory until backward.
        keeps: Kinds of operators whose results are kept, so that the recomputation reuses them. With the value n, the
            first of every n results is kept; 1 keeps all.
        reentrant: Whether backward of a block runs within that of its checkpoint, which holds the recomputed output and
            its gradient until it is over.
    """

    recomputes: bool = True
    offloads: bool = False
    keeps: Mapping[Operation, int] = MappingProxyType({})
    reentrant: bool = False


class Checkpointing(Choice):
    """Says which activations of a checkpointed block are kept.

    `full` is non-reentrant checkpointing: only the block's input is kept (`gradient_checkpointing=True` in Trainer).
    `full-reentrant` is the same with `use_reentrant=True`, Trainer's default before transformers 5. Under FSDP1 it is
    around the calls of the units, as transformers up to 4.51 has it (modeling_llama.py,
    `_gradient_checkpointing_func(decoder_layer.__call__, ...)`); later versions checkpoint within the units. The
    selective choices are policies for `create_selective_checkpoint_contexts` of torch.utils.checkpoint.
    """

    facts: CheckpointingFacts

    NONE = "none", "every activation is kept", CheckpointingFacts(recomputes=False)
    FULL = "full", "every block is recomputed in backward", CheckpointingFacts()
    FULL_REENTRANT = (
        "full-reentrant",
        "the same with use_reentrant=True, Trainer's default in transformers 4: outputs are held as well",
        CheckpointingFacts(reentrant=True),
    )
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
    def mistaken(cls) -> Mapping[str, str]:
        """Returns the values of the flag `gradient_checkpointing`, which does not say which kind."""
        switched_on = dict.fromkeys(("true", "on", "yes", "gradient", "block"), cls.FULL)
        return {**switched_on, **dict.fromkeys(("false", "off", "no"), cls.NONE), "unsloth": cls.OFFLOAD}

    @classmethod
    def open_to(cls) -> tuple[type, ...]:
        """Returns the type of facts with which plug-ins may add policies."""
        return (CheckpointingFacts,)


class Checkpoints(NamedTuple):
    """Says which blocks are checkpointed, and how.

    Attributes:
        choice: Policy of the checkpointed blocks.
        every: The first of every `every` blocks is checkpointed (transformers' `every_n_layers`).
    """

    choice: Checkpointing = Checkpointing.NONE
    every: int = 1

    @property
    def recomputes(self) -> bool:
        """Returns whether checkpointed blocks are recomputed in backward."""
        return self.choice.facts.recomputes

    def cover(self, block: int) -> bool:
        """Returns whether the block with that index, from 0, is checkpointed."""
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
