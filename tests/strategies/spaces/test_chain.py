"""A chain is a strategy with every value of the one axis in which a number grows."""

from __future__ import annotations

from strategies import PLAIN, Chain, Lora


def test_a_chain_is_its_least_strategy_and_the_same_with_each_following_value() -> None:
    methods = Lora(4), Lora(8), Lora(32)
    least = PLAIN._replace(finetuning=methods[0])
    chain = Chain(least, "finetuning", methods)
    assert chain.length == 3
    assert [chain.at(place) for place in range(3)] == [least._replace(finetuning=method) for method in methods]


def test_a_strategy_in_which_nothing_grows_is_a_chain_of_one() -> None:
    assert (Chain(PLAIN).length, Chain(PLAIN).at(0)) == (1, PLAIN)
