"""What callers say about options, and the values that are made of it."""

from typing import Any

import pytest

from planner import PlannerError
from planner.records.asked.axes import parse_axes
from strategies import ALL_LINEAR, Optimizer, Precision


@pytest.mark.parametrize(
    ("given", "values"),
    [
        (8, (8,)),
        ("8", (8,)),
        ([8, 8, 4], (8, 4)),
        ("4..7", (4, 5, 6, 7)),
        (["1", "4..12 step 4"], (1, 4, 8, 12)),
        ("4..256 times 4", (4, 16, 64, 256)),
        ("8..8", (8,)),
    ],
)
def test_whole_numbers_are_said_one_by_one_or_as_ranges(given: Any, values: tuple[int, ...]) -> None:
    assert parse_axes({"lora_rank": given}) == {"lora_rank": values}


@pytest.mark.parametrize("given", ["8..4", "0..4", "4..", "..", "4..8 by 2", "4..8 step 0", "4..8 times 1", "4...8"])
def test_a_range_that_is_none_is_refused_with_its_text(given: str) -> None:
    with pytest.raises(PlannerError, match="lora_rank is") as refused:
        parse_axes({"lora_rank": given})
    assert given in refused.value.message


def test_names_of_layers_are_one_set_or_several() -> None:
    assert parse_axes({"lora_targets": ["q_proj", "v_proj"]}) == {"lora_targets": (("q_proj", "v_proj"),)}
    assert parse_axes({"lora_targets": ["q_proj,v_proj", "all-linear"]}) == {
        "lora_targets": (("q_proj", "v_proj"), ALL_LINEAR)
    }


def test_choices_are_parsed_by_name_each_once() -> None:
    given = {"precision": "bf16-mixed", "optimizer": ["adamw", "sgd", "adamw"]}
    assert parse_axes(given) == {"precision": (Precision.BF16_MIXED,), "optimizer": (Optimizer.ADAMW, Optimizer.SGD)}
