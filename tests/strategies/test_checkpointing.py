"""Checkpointing policies: which blocks are recomputed, and what of them stays."""

from __future__ import annotations

import pytest

from strategies import (
    AXES,
    OPTIONS,
    Checkpointing,
    CheckpointingFacts,
    Checkpoints,
    ContradictionError,
    Operation,
    WholeNumbers,
)

AXIS = AXES["checkpointing"]
RECOMPUTING = [choice for choice in Checkpointing if choice is not Checkpointing.NONE]


def test_each_policy_keeps_and_offloads_what_torch_and_transformers_do() -> None:
    assert {choice: choice.facts for choice in Checkpointing} == {
        Checkpointing.NONE: CheckpointingFacts(recomputes=False, offloads=False, keeps={}),
        Checkpointing.FULL: CheckpointingFacts(recomputes=True, offloads=False, keeps={}),
        Checkpointing.FULL_REENTRANT: CheckpointingFacts(recomputes=True, offloads=False, keeps={}, reentrant=True),
        Checkpointing.SELECTIVE_MATMULS: CheckpointingFacts(
            recomputes=True, offloads=False, keeps={Operation.MM: 1, Operation.ADDMM: 1, Operation.SDPA: 1}
        ),
        Checkpointing.SELECTIVE_EVERY_SECOND_MATMUL: CheckpointingFacts(
            recomputes=True, offloads=False, keeps={Operation.MM: 2, Operation.SDPA: 1}
        ),
        Checkpointing.OFFLOAD: CheckpointingFacts(recomputes=True, offloads=True, keeps={}),
    }


@pytest.mark.parametrize(
    ("every", "covered"),
    [(1, [True] * 5), (2, [True, False, True, False, True]), (4, [True, False, False, False, True])],
)
@pytest.mark.parametrize("choice", RECOMPUTING)
def test_of_so_many_blocks_the_first_is_recomputed(choice: Checkpointing, every: int, covered: list[bool]) -> None:
    checkpoints = Checkpoints(choice, every)
    assert checkpoints.recomputes
    assert [checkpoints.cover(block) for block in range(5)] == covered


def test_without_checkpointing_no_block_is_recomputed() -> None:
    assert Checkpoints() == Checkpoints(Checkpointing.NONE, every=1)
    assert not Checkpoints().recomputes
    assert not any(Checkpoints(every=every).cover(block) for every in (1, 2) for block in range(4))


def test_how_many_blocks_are_checkpointed_refines_all_policies_that_recompute() -> None:
    option = OPTIONS["checkpoint_every"]
    assert {choice for choice in Checkpointing if option.refines({"checkpointing": choice})} == set(RECOMPUTING)
    assert (option.kind, option.hidden_default, option.monotone) == (WholeNumbers(1, 1024, 2), 1, False)


def test_options_make_checkpoints_and_checkpoints_say_their_options() -> None:
    said = {"checkpointing": Checkpointing.FULL, "checkpoint_every": 3}
    assert AXIS.value(said) == Checkpoints(Checkpointing.FULL, 3)
    assert AXIS.to_options(Checkpoints(Checkpointing.FULL, 3)) == said
    assert AXIS.value({"checkpointing": Checkpointing.OFFLOAD}) == Checkpoints(Checkpointing.OFFLOAD, 1)
    assert AXIS.to_options(Checkpoints()) == {"checkpointing": Checkpointing.NONE}


def test_a_policy_of_a_plug_in_needs_facts_of_checkpointing() -> None:
    assert Checkpointing.open_to() == (CheckpointingFacts,)
    with pytest.raises(ContradictionError, match="'mine' has facts of type dict") as refused:
        Checkpointing.add("mine", "invented", {Operation.MM: 1})
    assert refused.value.hint == "it takes CheckpointingFacts"
