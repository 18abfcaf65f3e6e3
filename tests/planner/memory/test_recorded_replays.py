"""The model against recorded replays of real training steps: recordings.json says which command made each."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import planner

TOLERANCE = 0.015
"""Largest relative error of `allocated_bytes`, either way."""

MEDIAN_TOLERANCE = 0.001

RECORDINGS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("recordings.json").read_text())


def options_of(command: str) -> dict[str, Any]:
    words = shlex.split(command)[2:]
    options: dict[str, Any] = {k[2:].replace("-", "_"): v for k, v in zip(words[::2], words[1::2], strict=True)}
    for name in ("gpus", "gradient_accumulation_steps"):
        if name in options:
            options[name] = int(options[name])
    return options


def model_without_dropout(name: str) -> planner.Model:
    """The replay runs without dropout, whose mask on a CPU is not CUDA's."""
    model = planner.find_model(name)
    fields = {f: 0.0 for f in type(model.architecture).model_fields if "drop" in f}
    return planner.Model(model.name, model.architecture.model_copy(update=fields))


def relative_error(recording: dict[str, Any]) -> float:
    options = options_of(recording["command"])
    model = model_without_dropout(options.pop("model"))
    result = planner.estimate(model, gpu="A100-80GB-SXM", sequence_length=1024, micro_batch_size=2, **options)
    cublas_workspaces = 2 * planner.load_catalog().get("A100-80GB-SXM").cublas_workspace_bytes
    predicted = result.memory.allocated_bytes - cublas_workspaces  # the replay runs no cuBLAS
    return predicted / recording["peak_bytes"] - 1


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r["command"].partition("--model ")[2])
def test_allocated_bytes_equal_the_replay(recording: dict[str, Any]) -> None:
    assert abs(relative_error(recording)) <= TOLERANCE


def test_the_median_error_is_a_tenth_of_a_percent() -> None:
    errors = sorted(abs(relative_error(r)) for r in RECORDINGS)
    assert errors[len(errors) // 2] <= MEDIAN_TOLERANCE
