"""One step more: the change that doubles the batch or makes the plan faster by a third, as trying all of them says."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from click.testing import CliRunner

from planner import fit
from planner.advice import step_more
from planner.advice.techniques import TECHNIQUES
from planner.answers.settled import settled
from planner.cli import main
from planner.records.advice import Cost
from planner.records.plan import Plan
from planner.records.result import FitResult
from planner.search import Candidate, Solver
from strategies import Strategy

ONE: dict[str, Any] = {"finetuning": "lora", "precision": "bf16-mixed", "optimizer": "adamw", "checkpointing": "none"}
REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "logits fill it": ("qwen2.5-0.5b", {"gpu": "L4", **ONE, "checkpointing": "full"}),
    "activations fill it": ("llama-7b", {"gpu": "A100-40GB", **ONE}),
    "a wanted batch": ("llama-7b", {"gpu": "A100-40GB", "global_batch_size": 32, **ONE}),
    "an encoder": ("bert-base", {"gpu": "T4", "finetuning": "full", "optimizer": "adamw", "checkpointing": "none"}),
    "speed": ("smollm2-1.7b", {"gpu": "RTX-4090", "objective": "throughput", **ONE, "checkpointing": "full"}),
}
HELPFUL = ("kernels", "loss", "checkpointing", "optimizer")


def speed(plan: Plan) -> float:
    return plan.time.tokens_per_second


def larger(now: FitResult, then: FitResult) -> float:
    """Times the largest effective batch with a change, 0 if it slows a token down."""
    a, b = now.plans[0], then.plans[0]
    is_open = (now.request.objective or "batch") == "batch" and now.request.global_batch_size is None
    times = min(b.global_batch_size / a.global_batch_size, b.micro_batch_size / a.micro_batch_size)
    return times if is_open and speed(a) <= 1.05 * speed(b) else 0


@pytest.mark.parametrize("name", REQUESTS)
def test_trying_every_change_finds_the_same(name: str) -> None:
    model, options = REQUESTS[name]
    now = fit(model, **options, advice=True)
    found = {}
    for change in TECHNIQUES:
        if {*change.options} <= {*HELPFUL} and change.cost in (Cost.FLAG, Cost.PACKAGE) and not change.but:
            try:
                then = fit(model, **options | {key: str(value) for key, value in change.options.items()})
            except Exception:  # it cannot run
                continue
            if then.plans:
                share = max(larger(now, then) / 2, speed(then.recommended) / speed(now.recommended) * 3 / 4)
                found[change.words] = (change.cost.place, -share)
    helping = {words: key for words, key in found.items() if key[1] <= -1}
    told = now.step_more
    if not helping:
        assert told is None
    else:
        assert told is not None
        assert helping[told.change] == pytest.approx(min(helping.values()))


def test_more_accumulation_alone_is_no_larger_batch() -> None:
    """The plan has no room for gradients that stay from pass to pass; with its inputs on the host it has."""
    found = fit("qwen2.5-14b", gpu="RTX-5090", sequence_length=8192, advice=True)
    assert (found.recommended.micro_batch_size, found.recommended.gradient_accumulation_steps) == (1, 1)
    told = found.step_more
    assert told is not None
    assert told.options == {"loss": "liger-fused-linear"}
    assert told.gain == "3.0 x the micro-batch, 3"


@pytest.mark.parametrize("name", REQUESTS)
def test_its_command_works_when_it_is_pasted(name: str) -> None:
    model, options = REQUESTS[name]
    told = fit(model, **options, advice=True).step_more
    if told is not None:
        program, *arguments = shlex.split(told.command)
        assert program == "planner"
        answer = json.loads(CliRunner().invoke(main, [*arguments, "--json"]).stdout)
        assert told.plan is not None
        assert told.plan.model_dump(mode="json")["strategy"] in [plan["strategy"] for plan in answer["plans"]]


def test_twice_the_gpus_are_told_where_each_then_does_much_more() -> None:
    one = {"finetuning": "full", "precision": "bf16-true", "optimizer": "adamw-8bit-torchao", "checkpointing": "full"}
    fused = {"loss": "liger-fused-linear", "kernels": "liger"}
    more = fit("gemma-2-9b", gpu="A100-80GB", **one, **fused, advice=True).step_more
    assert more is not None
    assert more.options == {"gpus": 2}
    assert more.cost is Cost.MONEY


def test_a_report_tells_it_above_the_plan_and_json_where_it_is_asked_for() -> None:
    asked = ["fit", "llama-7b", "--gpu", "A100-40GB", "--finetuning", "lora"]
    shown = CliRunner().invoke(main, asked, env={"COLUMNS": "80"}).stdout
    assert 0 < shown.index("one step more, ") < shown.index("\n  plan ")
    assert len(shown.splitlines()) <= 23
    assert json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)["step_more"] is None
    told = json.loads(CliRunner().invoke(main, [*asked, "--json", "--advice"]).stdout)["step_more"]
    assert told["command"] in re.sub(r" \\\n +", " ", shown)


def test_what_would_slow_tokens_down_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Strategy] = []

    def noted(candidate: Candidate, solver: Solver) -> Candidate | None:
        served.append(candidate.strategy)
        return settled(candidate, solver)

    monkeypatch.setattr(step_more, "settled", noted)
    result = fit("llama-7b", gpu="A100-40GB", allocator="native", advice=True, **ONE)
    assert result.step_more is not None
    choices = {strategy.checkpointing.choice for strategy in served}
    assert choices == {result.step_more.plan.strategy.checkpointing}
    slower = fit("llama-7b", gpu="A100-40GB", **ONE | {"checkpointing": "offload"})
    assert speed(slower.recommended) < speed(result.recommended) / 1.05


def test_nothing_is_told_where_memory_is_the_objective() -> None:
    assert fit("llama-7b", gpu="A100-40GB", objective="memory", advice=True).step_more is None


def test_where_updates_are_rounded_away_the_optimizer_on_the_host_comes_first() -> None:
    answer = fit("gemma-2-9b", gpu="L40S", gpus=4, finetuning="full", advice=True)
    assert answer.recommended.risks == ("small updates of 16-bit weights are rounded away",)
    told = answer.step_more
    assert told is not None
    assert told.plan is not None
    assert (told.options["offload"], told.options["precision"]) == ("optimizer", "bf16-mixed")
    assert not told.plan.risks
    assert told.plan.memory.fits


def test_a_larger_batch_that_puts_more_at_risk_is_no_gain() -> None:
    answer = fit("gemma-2-9b", gpu="L40S", gpus=4, finetuning="full", loss="liger-fused-linear", advice=True)
    assert [len(plan.risks) for plan in answer.plans[:2]] == [0, 1]
    assert answer.step_more is None or "the batch" not in answer.step_more.gain
