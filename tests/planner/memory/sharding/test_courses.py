"""A library is followed around parts once for all settings in which the same happens; equal parts are thinned out."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.step import courses
from planner.problem.resolve import resolve_one
from planner.search import Solver
from strategies import Strategy

SHARDINGS = ("zero1", "zero2", "zero3")
CHOICES: tuple[dict[str, Any], ...] = (
    {"precision": "bf16-mixed", "checkpointing": "none"},
    {"precision": "bf16-mixed", "checkpointing": "none", "attention": "eager"},
    {"precision": "bf16-mixed", "checkpointing": "full"},
    {"precision": "bf16-mixed", "checkpointing": "full", "loss": "liger-fused-linear"},
    {"precision": "fp16-mixed", "checkpointing": "full", "finetuning": "lora"},
)


def solved(choices: dict[str, Any], sharding: str) -> tuple[Solver, Strategy]:
    """Returns a new solver, which remembers nothing, and a strategy of ZeRO."""
    axes = {**choices, "sharding": sharding, "sharding_backend": "deepspeed"}
    workload = {"gpus": 4, "nodes": 1, "sequence_length": 512, "headroom": 0.05}
    _, solver, candidate = resolve_one("smollm2-135m", "A100-80GB", None, axes, workload, 1, 2)
    return solver, candidate.strategy


def moments(solver: Solver, strategy: Strategy) -> list[dict[str, int]]:
    """Returns the bytes of each moment at several micro-batches."""
    footprint = solver.footprint(strategy, 2)
    return [{str(moment): n for moment, n in footprint.moments(size).items()} for size in (1, 2, 3, 8, 100)]


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_what_is_left_out_of_a_course_is_never_the_largest(sharding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    thinned = [moments(*solved(choices, sharding)) for choices in CHOICES]
    monkeypatch.setattr(courses, "_thin", lambda *_: None)
    assert [moments(*solved(choices, sharding)) for choices in CHOICES] == thinned


@pytest.mark.parametrize("sharding", SHARDINGS)
def test_a_course_that_is_known_gives_what_one_that_is_followed_gives(sharding: str) -> None:
    together = solved(CHOICES[0], sharding)[0]
    for choices in CHOICES:
        alone = solved(choices, sharding)
        assert moments(together, alone[1]) == moments(*alone)
