"""Why a value does not come first: what beats it, what it lacks and what would pay for it, or why it cannot run."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from planner import PlannerError, fit
from planner.cli import main
from planner.records.advice import Fate
from planner.records.result import FitResult


def test_a_value_that_is_beaten_is_compared_with_the_first_plan() -> None:
    (told,) = fit("llama-7b", gpu="A100-40GB", why_not="checkpointing=none").why_not
    assert told.fate is Fate.BEATEN
    assert told.plan is not None
    assert told.plan.strategy.checkpointing == "none"
    assert f"an effective batch of {told.plan.global_batch_size}" in told.says
    assert not told.ways


def test_a_value_that_the_plan_to_run_has_is_said_to_be_its() -> None:
    result = fit("llama-7b", gpu="A100-40GB", why_not=["checkpointing=none", "precision=tf32"])
    assert result.recommended.strategy.checkpointing == "none"
    assert [told.fate for told in result.why_not] == [Fate.BEATEN, Fate.BEATEN]
    assert [told.says.endswith("; the plan to run, of a usual batch, has it.") for told in result.why_not] == [
        True,
        False,
    ]


def test_a_value_that_does_not_fit_is_told_its_term_and_what_pays_for_it_with_the_value() -> None:
    result = fit("llama-2-13b", gpu="RTX-4090", why_not=["checkpointing=none"])
    assert result.plans
    (told,) = result.why_not
    assert told.fate is Fate.DOES_NOT_FIT
    assert (told.term, told.moment) == ("activations", "start_of_backward")
    assert told.plan is not None
    assert told.over_bytes == told.plan.memory.process_bytes - told.plan.memory.budget_bytes
    assert told.ways
    for way in told.ways:
        assert "--checkpointing none" in way.command
        found = CliRunner().invoke(main, [*shlex.split(way.command)[1:], "--json"])
        assert found.exit_code == 0, way.command
        assert {plan["strategy"]["checkpointing"] for plan in json.loads(found.stdout)["plans"]} == {"none"}


def test_a_value_that_cannot_run_is_told_the_reason() -> None:
    (told,) = fit("gpt2", gpu="T4", why_not="precision=bf16-mixed").why_not
    assert told.fate is Fate.CANNOT_RUN
    assert told.says == "T4 has no bf16."


def test_what_comes_first_says_so() -> None:
    result = fit("gpt2", gpu="T4", why_not=[f"optimizer={fit('gpt2', gpu='T4').plans[0].strategy.optimizer}"])
    assert result.why_not[0].fate is Fate.FIRST


@pytest.mark.parametrize(
    "asked", ["checkpointing", "lora_rank=4..8", "color=red", "checkpointing=some", {"optimizer": "sgd"}]
)
def test_what_is_no_value_of_an_option_is_refused(asked: Any) -> None:
    with pytest.raises(PlannerError):
        fit("gpt2", gpu="T4", why_not=asked)


def test_the_answer_round_trips_and_ends_with_the_explanation() -> None:
    result = fit("llama-7b", gpu="A100-40GB", why_not="checkpointing=none")
    assert FitResult.model_validate_json(result.model_dump_json()) == result
    shown = CliRunner().invoke(main, ["fit", "llama-7b", "--gpu", "A100-40GB", "--why-not", "checkpointing=none"])
    assert "checkpointing=none fits, and is beaten" in shown.stdout.replace("\n  ", " ")
