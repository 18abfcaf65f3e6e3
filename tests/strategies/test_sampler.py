"""Samplers by name: one looks for a front, and one needs packages that are not always there."""

from __future__ import annotations

import pytest

from strategies import Engine, Sampler
from strategies.choice import InvalidChoiceError


def test_only_nsga2_looks_for_a_front_and_only_the_gaussian_process_needs_an_extra() -> None:
    assert {sampler: tuple(sampler.facts) for sampler in Sampler} == {
        Sampler.TPE: (False, None),
        Sampler.NSGA2: (True, None),
        Sampler.GP: (False, "gp"),
        Sampler.RANDOM: (False, None),
        Sampler.BRUTE_FORCE: (False, None),
    }


def test_engines_are_found_by_name_and_others_refused_with_the_nearest() -> None:
    assert [Engine.parse("exhaustive"), Engine.parse("optuna")] == list(Engine)
    with pytest.raises(InvalidChoiceError) as refused:
        Engine.parse("optuma")
    assert refused.value.message == "unknown engine 'optuma'"
    assert refused.value.hint == "did you mean optuna?  (one of exhaustive, optuna)"
