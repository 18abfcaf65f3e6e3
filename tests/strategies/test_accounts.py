"""A choice that nobody computes is refused by its name, by whoever does not compute it."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

import pytest

from strategies import (
    OPTIONS,
    PLAIN,
    Accounts,
    Attention,
    Checkpointing,
    Checkpoints,
    Choice,
    Lora,
    LoraVariant,
    Optimizer,
    Precision,
    Quantization,
)
from strategies import accounts as module


def everything() -> dict[type[Choice], list[Container[Any]]]:
    return {option.kind: [option.kind] for option in OPTIONS.values() if isinstance(option.kind, type)}


def test_a_strategy_of_known_choices_lacks_nothing() -> None:
    accounts = Accounts("the toy", everything())
    assert accounts.lacking(PLAIN) is None
    assert accounts.lacking(PLAIN) is None  # the second time it is remembered
    assert accounts.lacking(PLAIN._replace(finetuning=Lora(variant=LoraVariant.DORA))) is None


def test_the_first_choice_without_an_account_is_named_with_its_option() -> None:
    known = everything() | {Attention: [(Attention.SDPA,), {Attention.EAGER}], Quantization: [(Quantization.NONE,)]}
    accounts = Accounts("the toy", known)
    assert accounts.lacking(PLAIN._replace(attention=Attention.EAGER)) is None
    assert accounts.lacking(PLAIN._replace(attention=Attention.FLEX)) == "the toy has no account of attention flex"
    quantized = PLAIN._replace(finetuning=Lora(quantization=Quantization.NF4), attention=Attention.FLEX)
    assert accounts.lacking(quantized) == "the toy has no account of quantization nf4"


def test_what_is_added_to_a_table_of_accounts_counts_from_then_on() -> None:
    table: set[Attention] = {Attention.SDPA}
    accounts = Accounts("the toy", everything() | {Attention: [table]})
    flex = PLAIN._replace(attention=Attention.FLEX)
    assert accounts.lacking(flex) is not None
    table.add(Attention.FLEX)
    assert accounts.lacking(flex) is None


@pytest.mark.parametrize("choice", [Precision.FP32, Optimizer.MUON, Checkpointing.OFFLOAD])
def test_choices_whose_facts_say_all_need_no_account(choice: Choice) -> None:
    assert Accounts("the toy", {}).has(choice)


def test_however_much_is_remembered_the_answer_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_REMEMBERED", 3)
    accounts = Accounts("the toy", everything() | {Attention: [(Attention.SDPA,)]})
    for every in range(1, 40):
        strategy = PLAIN._replace(checkpointing=Checkpoints(Checkpointing.FULL, every))
        assert accounts.lacking(strategy) is None
        assert accounts.lacking(strategy._replace(attention=Attention.FLEX)) is not None
