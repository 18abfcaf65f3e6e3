"""The cells of benchmarks/recorded/coverage.jsonl: every value of every option is replayed in one of them."""

from __future__ import annotations

import inspect
import statistics
from functools import cache

import coverage
import pytest
from recorded import cells
from recorded.pairs import Cell

import planner
from strategies import OPTIONS


@cache
def replayed() -> list[Cell]:
    return [recorded.cell for recorded in coverage.read_record() if recorded.bytes]


def test_every_value_is_replayed() -> None:
    assert cells.untried(replayed()) == []


def test_a_value_that_no_cell_has_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {**cells.factors(), "evaluation_batch_size": (None, 8, 16)}
    monkeypatch.setattr(cells, "factors", lambda: more)
    assert cells.untried(replayed()) == [("evaluation_batch_size", 16)]


def test_every_argument_of_a_replay_varies_or_says_why_not() -> None:
    arguments = set(inspect.signature(planner.verify).parameters) - {"asked"}
    assert arguments == (cells.factors().keys() - OPTIONS.keys()) | cells.NOT_VARIED.keys()
    assert cells.factors().keys() >= OPTIONS.keys()


MEDIAN, WORST = 0.001, 0.02
"""Largest errors of the peak of a step, relative to its replay."""


@pytest.mark.slow
def test_the_model_is_near_replays_of_zero_of_evaluations_and_of_batches() -> None:
    """Cells of one GPU and of FSDP are held against the model elsewhere (tests/planner/memory)."""
    found = [
        abs(coverage.held_against(recorded).peak)
        for recorded in coverage.read_record()
        if recorded.bytes
        and (
            recorded.cell["evaluation_batch_size"]
            or recorded.cell["batching"] != "full"
            or recorded.cell.get("sharding_backend") == "deepspeed"
        )
    ]
    assert statistics.median(found) <= MEDIAN
    assert max(found) <= WORST


def test_a_cell_is_added_by_its_values() -> None:
    cell = cells.added("model=smollm2-135m,gpus=2,sharding=full_shard,evaluation_batch_size=8,finetuning=lora")
    assert (cell["gpus"], cell["evaluation_batch_size"], cell["lora_targets"]) == (2, 8, "all-linear")
    assert cells.command(cell).startswith("planner verify smollm2-135m --gpu ")


@pytest.mark.parametrize(
    ("text", "why"),
    [("gpus=3", "gpus=3: is none of 1, 2, 8"), ("model=smollm2-135m,sharding=full_shard", "full_shard")],
)
def test_a_cell_that_cannot_be_says_why(text: str, why: str) -> None:
    with pytest.raises(coverage.argparse.ArgumentTypeError, match=why):
        cells.added(text)
