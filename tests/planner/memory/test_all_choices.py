"""The model's answers to the cells of recorded/coverage.jsonl, where every choice meets every other axis and family.

python tests/planner/memory/test_all_choices.py   # writes answers.json, where a change of them is meant
"""

from __future__ import annotations

import json
import statistics
from collections import Counter
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.answers.plans import plan_of
from planner.memory import Moment
from planner.memory.reserved import processes_of
from planner.problem.resolve import resolve_one
from planner.search import Candidate, Solver
from planner.verification.replayed import phases_of
from strategies import OPTIONS

REPLAYS = Path(__file__).parents[3] / "benchmarks" / "recorded" / "coverage.jsonl"
ANSWERS = Path(__file__).with_name("answers.json")
NUMBER = 1_605
"""Of replays, the first of the file: those that are recorded later have their own differences."""
UNREPLAYED = "today", "torch-2.7"
"""Wrappings: no replay runs the earlier one, and cells of FSDP1 are older than the choice."""
PHASES = ("forward", "backward", "optimizer")


WORKLOAD = ("gpus", "nodes", "task", "outputs", "loading", "evaluation_batch_size", "batching", "mean_length")
WORKLOAD += ("target_length",)
"""Fields of a cell that are no choice of a strategy."""


@cache
def recorded() -> list[dict[str, Any]]:
    return [found for line in REPLAYS.read_text().splitlines() if (found := json.loads(line)).get("bytes")]


def replays() -> list[dict[str, Any]]:
    return recorded()[:NUMBER]


@cache
def asked() -> list[tuple[Solver, Candidate]]:
    """The candidate of each of them, with a solver."""
    found = []
    for replay in replays():
        axes = dict(replay["cell"])
        model, steps = axes.pop("model"), axes.pop("gradient_accumulation_steps", 1)
        workload = {name: axes.pop(name) for name in WORKLOAD if name in axes}
        workload |= {"sequence_length": planner.find_model(model).tokens_per_sample or 512, "headroom": 0.05}
        found.append(resolve_one(model, "H100-80GB-SXM", None, axes, workload, 2, steps)[1:])
    return found


@cache
def estimated() -> list[planner.Plan]:
    """The model's answer to each of them."""
    return [plan_of(candidate, solver) for solver, candidate in asked()]


def test_every_choice_is_replayed() -> None:
    assert len(replays()) == NUMBER
    values = {(name, value) for replay in recorded() for name, value in replay["cell"].items()}
    for option in OPTIONS.values():
        if isinstance(option.kind, type):
            missing = {choice for choice in option.kind if (option.name, choice.value) not in values}
            assert missing <= {"none", *UNREPLAYED}, option.name


KNOWN = {"forward": (163_277_282, 368_869_408), "backward": (164_877_320, 271_872_962)}
KNOWN |= {"optimizer": (110_802_288, 243_745_584)}
"""Bytes that the model says too little and too much, summed over all replays: at most 0.3 MiB of each at the mean."""


@pytest.mark.parametrize("phase", PHASES)
def test_no_change_of_the_model_takes_it_further_from_the_replays(phase: str) -> None:
    pairs = zip(replays(), estimated(), strict=True)
    differences = [phases_of(e.memory.moments)[phase] - replay["bytes"][phase] for replay, e in pairs]
    missing, beyond = -sum(d for d in differences if d < 0), sum(d for d in differences if d > 0)
    too_little, too_much = KNOWN[phase]
    assert missing <= too_little
    assert beyond <= too_much


def answers() -> dict[str, dict[str, float]]:
    """Sums of all answers by model: bytes of each moment and of the process, and seconds of a step."""
    found: dict[str, Counter[str]] = {}
    for replay, result in zip(replays(), estimated(), strict=True):
        of = found.setdefault(replay["cell"]["model"], Counter())
        of.update(result.memory.moments)
        of.update(result.memory.components.model_dump())
        of["process"] += result.memory.process_bytes
        of["nanoseconds"] += round(result.time.step_seconds * 1e9)
    return {model: dict(sorted(sums.items())) for model, sums in sorted(found.items())}


def test_no_answer_changes_unless_that_is_meant() -> None:
    assert answers() == json.loads(ANSWERS.read_text())


@pytest.mark.slow
def test_requests_one_by_one_peak_where_the_closed_form_does() -> None:
    """The two share each part's tape; how parts hang together, and what backends do around them, is written twice."""
    errors = []
    for solver, candidate in asked():
        size, steps = candidate.micro_batch_size, candidate.gradient_accumulation_steps
        for process in processes_of(solver.model, candidate.strategy, size, steps):
            requests = process.requests()
            moments = candidate.footprint.moments(size)
            between = {Moment.LOADING, Moment.EVALUATION, Moment.SAVING}
            closed = max(num_bytes for moment, num_bytes in moments.items() if moment not in between)
            errors.append(abs(max(accumulate(num_bytes for _, num_bytes in requests.made)) / closed - 1))
    assert len(errors) > 0.9 * NUMBER
    assert statistics.median(errors) == 0
    assert sum(error <= 0.01 for error in errors) >= 0.9 * len(errors)


if __name__ == "__main__":
    ANSWERS.write_text(json.dumps(answers(), indent=1) + "\n")
