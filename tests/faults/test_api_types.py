"""Values of every type for every argument of the Python functions: an answer, or an error with a hint."""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import planner
from planner import PlannerError
from strategies import OPTIONS


class Odd:
    """Nothing that anybody expects."""

    def __repr__(self) -> str:
        raise RuntimeError


VALUES = [
    *(None, True, False, 0, 1, -1, 2, 1.5, math.nan, math.inf, 10**400, 10**5000, 1j),
    *("", "x", "2", "all", "a\0b", "9" * 5000, "\ud800", b"x", Path("/nowhere")),
    *([], [1], ["x"], [None], [[]], {}, {"a": 1}, (), set(), range(3), object(), Odd(), int, lambda: 0),
    *(np.int64(2), np.float64(0.5), np.zeros(2), datetime.date(2020, 1, 1)),
]
COMMON = ["model", "gpu", "gpus", "nodes", "sequence_length", "micro_batch_size", "evaluation_batch_size", "batching"]
COMMON += ["mean_length", "target_length", "outputs", "task", "headroom", "catalog", *OPTIONS]
SEARCHED = ["max_accumulation", "global_batch_size", "top", "space", "engine"]
SAMPLED = ["sampler", "trials", "timeout", "seed", "storage"]
ARGUMENTS = {
    "estimate": [*COMMON, "gradient_accumulation_steps"],
    "fit": [*COMMON, *SEARCHED, *SAMPLED],
    "verify": ["model", "device", "timeline", "snapshot"],
}
CASES = [(function, name) for function, names in ARGUMENTS.items() for name in names]


def answered(function: Callable[..., Any], arguments: dict[str, Any]) -> PlannerError | None:
    """None for an answer, or the error, which must be the product's."""
    try:
        function(**arguments)
    except PlannerError as error:
        return error
    return None


@pytest.mark.parametrize(("function", "name"), CASES)
def test_any_value_is_answered_or_refused(function: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base: dict[str, Any] = {"model": "gpt2", "gpu": "T4"}
    if function == "fit":
        base |= {"finetuning": "lora", **({"engine": "optuna", "trials": 1} if name in SAMPLED else {})}
    if function == "verify":
        base |= {"finetuning": "qlora", "device": "cpu"}  # which is refused before anything is replayed
    for value in VALUES:
        error = answered(getattr(planner, function), {**base, name: value})
        assert error is None or (error.message and error.hint), (value, error)
    os.fstat(1)  # 1 as a file would have closed it


def test_whole_numbers_of_numpy_are_whole_numbers() -> None:
    plain = planner.estimate("gpt2", gpu="T4", micro_batch_size=2, lora_rank=8, finetuning="lora")
    numpy = planner.estimate("gpt2", gpu="T4", micro_batch_size=np.int64(2), lora_rank=np.int32(8), finetuning="lora")
    assert numpy == plain


@pytest.mark.parametrize("value", [1, None, b"x", 1.5, ["gpt2"]])
def test_what_is_no_name_is_refused_by_the_look_ups(value: Any) -> None:
    with pytest.raises(PlannerError, match="not a name"):
        planner.find_model(value)
    with pytest.raises(PlannerError, match="not a name"):
        planner.load_catalog().get(value)
    if value is not None:
        with pytest.raises(PlannerError, match="not the path of a file"):
            planner.load_catalog(value)
