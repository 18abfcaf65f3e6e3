"""Each optimizer keeps the states that its library makes, and few of them can be refined or added to."""

from __future__ import annotations

import pytest

from strategies import (
    AXES,
    DEFAULT_OPTIMIZER_RANK,
    OPTIONS,
    Blockwise,
    ContradictionError,
    Factored,
    LowRank,
    Offloaded,
    Optimizer,
    Orthogonalized,
    Packed,
    Ranked,
    Rowwise,
    Whole,
    WholeNumbers,
)


def test_each_optimizer_keeps_the_states_of_its_library() -> None:
    assert {choice: choice.facts for choice in Optimizer} == {
        Optimizer.ADAMW: Whole(states=2, counts_on_gpu=True),
        Optimizer.ADAMW_FOREACH: Whole(states=2, foreach_copies=1),
        Optimizer.ADAMW_FP32_MASTER: Whole(states=3, itemsize=4, takes_shards=False),
        Optimizer.ADAMW_8BIT: Blockwise(states=2, bits=8),
        Optimizer.PAGED_ADAMW_8BIT: Blockwise(states=2, bits=8, paged=True),
        Optimizer.PAGED_ADAMW_32BIT: Blockwise(states=2, bits=32, paged=True),
        Optimizer.ADAMW_8BIT_TORCHAO: Packed(states=2, bits=8),
        Optimizer.ADAMW_4BIT: Packed(states=2, bits=4),
        Optimizer.ADAMW_OFFLOAD: Offloaded(smallest=4096),
        Optimizer.ADAFACTOR: Factored(),
        Optimizer.LION: Blockwise(states=1, bits=32),
        Optimizer.LION_8BIT: Blockwise(states=1, bits=8),
        Optimizer.MUON: Orthogonalized(),
        Optimizer.ADAM_MINI: Rowwise(),
        Optimizer.GALORE: LowRank(rank=128, scales=False),
        Optimizer.APOLLO: LowRank(rank=128, scales=True),
        Optimizer.APOLLO_MINI: LowRank(rank=1, scales=True),
        Optimizer.SGD: Whole(states=0),
        Optimizer.SGD_MOMENTUM: Whole(states=1),
    }
    assert {type(choice.facts) for choice in Optimizer} == set(Optimizer.open_to())


def test_an_optimizer_of_whole_states_keeps_them_in_the_dtype_of_the_tensor_and_takes_shards_unless_it_says_so() -> (
    None
):
    assert Whole() == Whole(states=0, itemsize=None, foreach_copies=0, counts_on_gpu=False, takes_shards=True)
    assert Blockwise(2) == Blockwise(states=2, bits=8, paged=False)


def test_the_rank_of_galore_and_apollo_is_128_unless_given() -> None:
    option = OPTIONS["optimizer_rank"]
    assert option.kind == WholeNumbers(1, 2**14, 128)
    assert option.kind.usual == DEFAULT_OPTIMIZER_RANK
    assert f"{DEFAULT_OPTIMIZER_RANK} unless given" in option.help
    refined = {choice for choice in Optimizer if option.refines({"optimizer": choice})}
    assert refined == {Optimizer.GALORE, Optimizer.APOLLO}
    assert not option.monotone
    for choice in (Optimizer.GALORE, Optimizer.APOLLO):
        assert choice.facts == Ranked(choice, DEFAULT_OPTIMIZER_RANK).facts


@pytest.mark.parametrize("choice", [Optimizer.GALORE, Optimizer.APOLLO])
def test_a_rank_of_its_own_changes_the_rank_alone(choice: Optimizer) -> None:
    ranked = AXES["optimizer"].value({"optimizer": choice, "optimizer_rank": 8})
    assert ranked == Ranked(choice, 8)
    assert ranked.facts == choice.facts._replace(rank=8)
    assert (str(ranked), ranked.choice) == (f"{choice} rank 8", choice)


def test_without_a_rank_an_optimizer_is_the_choice_itself() -> None:
    axis = AXES["optimizer"]
    assert axis.value({"optimizer": Optimizer.GALORE}) is Optimizer.GALORE
    assert axis.value({"optimizer": Optimizer.APOLLO_MINI, "optimizer_rank": 8}) is Optimizer.APOLLO_MINI
    assert Optimizer.ADAMW.choice is Optimizer.ADAMW
    for choice in Optimizer:
        assert axis.to_options(choice) == {"optimizer": choice}


@pytest.mark.parametrize(
    ("name", "facts", "message"),
    [
        ("adamw", Whole(2), "has a choice 'adamw' already"),
        ("mine", None, "'mine' has facts of type NoneType"),
        ("mine", (2, 4), "'mine' has facts of type tuple"),
    ],
)
def test_an_optimizer_of_a_plug_in_needs_a_new_name_and_facts_of_a_known_kind(
    name: str, facts: object, message: str
) -> None:
    before = list(Optimizer)
    with pytest.raises(ContradictionError, match=message):
        Optimizer.add(name, "invented", facts)
    assert list(Optimizer) == before
