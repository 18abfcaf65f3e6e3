"""What all axes have in common: names, options that refine choices, and the values that both make."""

from __future__ import annotations

from typing import Any

import pytest

from strategies import AXES, OPTIONS, Attention, Axis, Choice, LoraTargets, Optimizer, Option, Precision, WholeNumbers
from strategies.axis import axis_of, given
from strategies.choice import InvalidChoiceError


class TwoWords(Choice):
    """An invented axis."""

    ONE = "one", "the first", 1
    OTHER = "other", "without facts"


class Colour(Choice):
    """An invented option that refines one word."""

    RED = "red", "warm"
    GREEN = "green", "cold"


BOTH = (TwoWords.ONE, TwoWords.OTHER, Colour.RED)


def test_an_axis_is_called_as_its_class_in_lower_case_with_underscores() -> None:
    assert (TwoWords.axis_name(), Attention.axis_name()) == ("two_words", "attention")


def test_a_choice_is_its_name_and_carries_a_summary_and_facts() -> None:
    assert (TwoWords.ONE, TwoWords.ONE.value, str(TwoWords.ONE)) == ("one", "one", "one")
    assert [(choice.summary, choice.facts) for choice in TwoWords] == [("the first", 1), ("without facts", None)]


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_every_choice_says_in_one_line_what_it_means(axis: Axis) -> None:
    choices = axis.choices.kind
    assert isinstance(choices, type)
    for choice in choices:
        assert choice.summary
        assert choice.summary.isprintable()
        assert choices.parse(choice.value) is choice


@pytest.mark.parametrize("unknown", ["onee", "", [], None, 3])
def test_what_is_no_name_of_a_choice_is_refused(unknown: Any) -> None:
    with pytest.raises(InvalidChoiceError, match="unknown two_words") as refused:
        TwoWords.parse(unknown)
    near = "did you mean one?  (one of one, other)" if unknown == "onee" else "one of one, other"
    assert refused.value.hint == near


@pytest.mark.parametrize("axis", AXES.values(), ids=AXES)
def test_what_people_call_otherwise_is_refused_with_what_to_write(axis: Axis) -> None:
    for option in axis.options:
        if not isinstance(option.kind, type):
            continue
        for name, meant in option.kind.mistaken().items():
            with pytest.raises(InvalidChoiceError) as refused:
                option.kind.parse(name)
            assert (refused.value.hint or "").startswith(f"did you mean {meant}?")
            first = meant.partition(",")[0].partition(" ")[0]
            assert first in {*option.kind, *option.kind.aliases()}


def test_every_option_belongs_to_one_axis_and_refines_choices_of_options_before_it() -> None:
    names = [option.name for axis in AXES.values() for option in axis.options]
    assert names == list(OPTIONS)
    for axis in AXES.values():
        kind = axis.choices.kind
        assert isinstance(kind, type)
        assert (axis.choices.belongs_to, axis.name) == ((), axis.choices.name)
        for place, option in enumerate(axis.refinements):
            before = {kind, *(other.kind for other in axis.refinements[:place])}
            assert kind in {type(choice) for choice in option.belongs_to} <= before


def test_options_of_numbers_grow_or_not_and_those_that_do_are_known() -> None:
    assert {name for name, option in OPTIONS.items() if option.monotone} == {"lora_rank", "trained_blocks"}
    for option in OPTIONS.values():
        if isinstance(option.kind, WholeNumbers):
            assert option.kind.low <= option.kind.usual <= option.kind.high
            assert option.help.endswith(".")


def test_an_option_of_no_choice_in_particular_refines_all() -> None:
    option = Option("size", WholeNumbers(1, 2, 1))
    assert (option.refines({"two_words": TwoWords.ONE}), option.refines({})) == (True, True)
    assert (option.help, option.phrase, option.hidden_default, option.monotone) == ("", "{}", None, False)
    one = option._replace(belongs_to=(TwoWords.ONE,))
    assert [one.refines({"two_words": word}) for word in TwoWords] == [True, False]
    assert one.refines({"other": 1})
    assert one.can_refine({"two_words": tuple(TwoWords)})
    assert not one.can_refine({"two_words": (TwoWords.OTHER,)})


def test_an_option_can_refine_choices_of_two_options_together() -> None:
    axis = Axis(
        Option("two_words", TwoWords),
        (Option("colour", Colour, belongs_to=(TwoWords.ONE,)), Option("size", WholeNumbers(1, 9, 1), belongs_to=BOTH)),
        lambda values: tuple(values.values()),
    )
    values = {"two_words": tuple(TwoWords), "colour": tuple(Colour), "size": (1, 2)}
    assert list(axis.combinations(values.__getitem__)) == [
        ("one", "red", 1),
        ("one", "red", 2),
        ("one", "green"),
        ("other", 1),
        ("other", 2),
    ]


def test_an_axis_without_refinements_takes_its_choice_as_it_is() -> None:
    axis = axis_of(TwoWords, phrase="as {}")
    assert axis.options == (Option("two_words", TwoWords, phrase="as {}"),)
    assert axis.value({"two_words": TwoWords.ONE, "size": 3}) is TwoWords.ONE
    assert axis.to_options(TwoWords.OTHER) == {"two_words": TwoWords.OTHER}
    assert (axis.refining(TwoWords.ONE), axis.growing(TwoWords.ONE)) == ([], None)
    assert list(axis.combinations({"two_words": (TwoWords.ONE, TwoWords.OTHER)}.__getitem__)) == list(TwoWords)


def test_combinations_are_those_of_each_choice_with_the_options_that_refine_it() -> None:
    axis = Axis(
        Option("two_words", TwoWords),
        (
            Option("size", WholeNumbers(1, 9, 1), belongs_to=(TwoWords.ONE,), monotone=True),
            Option("depth", WholeNumbers(1, 9, 1)),
        ),
        lambda values: tuple(values.values()),
    )
    values = {"two_words": (TwoWords.ONE, TwoWords.OTHER), "size": (1, 2), "depth": (3, 4)}
    assert list(axis.combinations(values.__getitem__)) == [
        ("one", 1, 3),
        ("one", 1, 4),
        ("one", 2, 3),
        ("one", 2, 4),
        ("other", 3),
        ("other", 4),
    ]
    growing = axis.growing(TwoWords.ONE)
    assert growing is not None
    assert (growing.name, axis.growing(TwoWords.OTHER)) == ("size", None)


def test_a_value_that_is_not_given_is_the_default_and_one_that_is_false_is_given() -> None:
    values = {"rank": 0, "targets": None}
    assert [given(values, name, 7) for name in ("rank", "targets", "absent")] == [0, 7, 7]


def test_targets_are_a_keyword_or_names() -> None:
    targets: LoraTargets = ("q_proj",)
    assert AXES["finetuning"].value({"finetuning": "lora", "lora_targets": targets}).targets == targets


def test_axes_stand_in_the_order_of_a_strategys_fields() -> None:
    assert list(AXES)[:2] == ["precision", "optimizer"]
    assert (OPTIONS["precision"].kind, OPTIONS["optimizer"].kind) == (Precision, Optimizer)
