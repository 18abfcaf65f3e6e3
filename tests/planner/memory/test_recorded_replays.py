"""The model against recorded replays of real training steps: recordings.json says which command made each."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import planner
from planner.verification.replayed import phases_of

PHASES = ("forward", "backward", "optimizer")

TOLERANCE = 0.0025
"""Largest relative error of the peak of each phase, either way."""

MEDIAN_TOLERANCE = 0.0001
"""Of the step's peak."""

RECORDINGS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recordings.json").read_text())


def modelled(command: str) -> dict[str, int]:
    """The model's bytes in each phase of the step that a `planner verify` command replays."""
    model, *words = shlex.split(command)[2:]
    pairs = zip(words[::2], words[1::2], strict=True)
    options: dict[str, Any] = {name[2:].replace("-", "_"): int(v) if v.isdigit() else v for name, v in pairs}
    return phases_of(planner.estimate(model, **options).memory.moments)


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r["command"].removeprefix("planner verify "))
def test_every_phase_equals_the_replay(recording: dict[str, Any]) -> None:
    errors = {phase: size / recording[phase] - 1 for phase, size in modelled(recording["command"]).items()}
    assert errors == pytest.approx(dict.fromkeys(PHASES, 0.0), abs=TOLERANCE)


def test_the_median_error_is_a_hundredth_of_a_percent() -> None:
    peaks = [(max(modelled(r["command"]).values()), max(r[phase] for phase in PHASES)) for r in RECORDINGS]
    errors = sorted(abs(model / replay - 1) for model, replay in peaks)
    assert errors[len(errors) // 2] <= MEDIAN_TOLERANCE
