"""The model's answers to the cells of benchmarks/coverage.jsonl, where every choice meets every other axis and family.

python tests/planner/memory/test_all_choices.py   # writes answers.json, where a change of them is meant
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.verification.replayed import phases_of
from strategies import OPTIONS

REPLAYS = Path(__file__).parents[3] / "benchmarks" / "coverage.jsonl"
ANSWERS = Path(__file__).with_name("answers.json")
NUMBER = 1_596
"""Of replays, the first of the file: those that are recorded later have their own differences."""
PHASES = ("forward", "backward", "optimizer")


@cache
def replays() -> list[dict[str, Any]]:
    lines = REPLAYS.read_text().splitlines()
    return [recorded for line in lines if (recorded := json.loads(line)).get("bytes")][:NUMBER]


@cache
def estimated() -> list[planner.EstimateResult]:
    """The model's answer to each of them."""
    found = []
    for recorded in replays():
        cell = recorded["cell"]
        length = planner.find_model(cell["model"]).tokens_per_sample or 512
        found.append(planner.estimate(**cell, gpu="H100-80GB-SXM", sequence_length=length, micro_batch_size=2))
    return found


def test_every_choice_is_replayed() -> None:
    assert len(replays()) == NUMBER
    values = {(name, value) for recorded in replays() for name, value in recorded["cell"].items()}
    for option in OPTIONS.values():
        if isinstance(option.kind, type):
            missing = {choice for choice in option.kind if (option.name, choice.value) not in values}
            assert missing <= {"none"}, option.name


KNOWN = {"forward": (1_205_401_388, 440_874_674), "backward": (1_045_911_982, 554_474_084)}
KNOWN |= {"optimizer": (110_801_152, 244_291_776)}
"""Bytes that the model says too little and too much, of all replays together: 0.9 and 0.3 MiB of each at the mean."""


@pytest.mark.parametrize("phase", PHASES)
def test_no_change_of_the_model_takes_it_further_from_the_replays(phase: str) -> None:
    pairs = zip(replays(), estimated(), strict=True)
    differences = [phases_of(e.memory.moments)[phase] - recorded["bytes"][phase] for recorded, e in pairs]
    missing, beyond = -sum(d for d in differences if d < 0), sum(d for d in differences if d > 0)
    too_little, too_much = KNOWN[phase]
    assert missing <= too_little
    assert beyond <= too_much


def answers() -> dict[str, dict[str, float]]:
    """Sums of all answers by model: bytes of each moment and of the process, and seconds of a step."""
    found: dict[str, Counter[str]] = {}
    for recorded, result in zip(replays(), estimated(), strict=True):
        of = found.setdefault(recorded["cell"]["model"], Counter())
        of.update(result.memory.moments)
        of.update(result.memory.components.model_dump())
        of["process"] += result.memory.process_bytes
        of["nanoseconds"] += round(result.time.step_seconds * 1e9)
    return {model: dict(sorted(sums.items())) for model, sums in sorted(found.items())}


def test_no_answer_changes_unless_that_is_meant() -> None:
    assert answers() == json.loads(ANSWERS.read_text())


if __name__ == "__main__":
    ANSWERS.write_text(json.dumps(answers(), indent=1) + "\n")
