"""Engines are asked for by name, with numbers that make sense or none at all."""

from __future__ import annotations

from typing import Any

import pytest

from planner import PlannerError
from planner.search import EngineError, EngineSettings, TooManyStrategiesError
from strategies import ContradictionError, Engine, Sampler

OPEN: dict[str, Any] = dict.fromkeys(("sampler", "trials", "timeout", "seed", "storage"))


def settings(engine: str = "optuna", **given: Any) -> EngineSettings:
    return EngineSettings.of(engine, **{**OPEN, **given})


def test_what_is_left_open_is_the_default() -> None:
    usual = EngineSettings(Engine.EXHAUSTIVE, Sampler.TPE, 200, None, 0, None, "planner")
    assert settings("exhaustive") == EngineSettings() == usual
    assert settings() == usual._replace(engine=Engine.OPTUNA)


def test_what_is_given_is_taken() -> None:
    given = settings(sampler="nsga2", trials=1, timeout=0.5, seed=7, storage="sqlite:///x.db")
    assert given == EngineSettings(Engine.OPTUNA, Sampler.NSGA2, 1, 0.5, 7, "sqlite:///x.db")


@pytest.mark.parametrize(
    "given",
    [
        {"trials": 1},
        {"trials": 10**7},
        {"seed": 0},
        {"seed": 2**32 - 1},
        {"timeout": 1e-9},
        {"timeout": 365 * 24 * 3600 - 1},
        {"storage": ""},
    ],
    ids=str,
)
def test_numbers_up_to_their_bounds_are_taken(given: dict[str, Any]) -> None:
    (value,) = given.values()
    assert value in settings(**given)


@pytest.mark.parametrize(
    ("given", "message", "hint"),
    [
        ({"trials": 0}, "trials is 0, which is not a whole number from 1 to 10000000", "200 is usual"),
        ({"trials": 10**7 + 1}, "trials is 10000001, which is not a whole number", "200 is usual"),
        ({"trials": True}, "trials is True, which is not a whole number", "200 is usual"),
        ({"trials": 2.0}, "trials is 2.0, which is not a whole number", "200 is usual"),
        ({"seed": -1}, "seed is -1, which is not a whole number from 0 to 4294967295", "0 is the default"),
        ({"seed": 2**32}, "seed is 4294967296, which is not a whole number", "0 is the default"),
        ({"seed": False}, "seed is False, which is not a whole number", "0 is the default"),
        ({"timeout": 0}, "timeout is 0, which is no number of seconds above 0 and below a year", "--timeout 60"),
        ({"timeout": 365 * 24 * 3600}, "timeout is 31536000, which is no number", "--timeout 60"),
        ({"timeout": float("nan")}, "timeout is nan, which is no number", "--timeout 60"),
        ({"timeout": True}, "timeout is True, which is no number", "--timeout 60"),
        ({"timeout": "60"}, "timeout is '60', which is no number", "--timeout 60"),
        ({"storage": 3}, "storage is 3, which is no URL", "storage='sqlite:///study.db'"),
    ],
    ids=lambda x: str(x) if isinstance(x, dict) else "",
)
def test_what_makes_no_sense_is_refused_with_what_does(given: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(EngineError) as refused:
        settings(**given)
    assert refused.value.message.startswith(message)
    assert refused.value.hint == hint


@pytest.mark.parametrize("given", [{"sampler": "tpe"}, {"trials": 5}, {"timeout": 5}, {"seed": 0}], ids=str)
def test_options_of_samplers_are_for_the_engine_that_samples(given: dict[str, Any]) -> None:
    (name,) = given
    with pytest.raises(ContradictionError) as refused:
        settings("exhaustive", **given)
    assert refused.value.message == f"{name} is given, but exhaustive samples nothing"
    assert refused.value.hint == "add --engine optuna"
    assert settings("exhaustive", storage="sqlite:///x.db").storage == "sqlite:///x.db"


def test_unknown_names_are_refused() -> None:
    with pytest.raises(PlannerError, match="unknown engine 'grid'"):
        settings("grid")
    with pytest.raises(PlannerError, match="unknown sampler 'cmaes'"):
        settings(sampler="cmaes")


def test_a_space_that_is_too_large_says_how_large_it_is() -> None:
    error = TooManyStrategiesError(1_234_567, 30_000, 25_000)
    assert error.message == (
        "1,234,567 strategies of this space can run here, and 30,000 would be decided one by one: the exhaustive "
        "engine does so with 25,000 at most"
    )
