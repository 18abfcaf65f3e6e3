"""What a search looks for: objectives, batches, runs with their limits, the plan to run, the front."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from planner import ContradictionError, InvalidChoiceError, PlannerError, RequestError, estimate, fit
from planner.records.asked.amounts import parse_count, parse_length, parse_seconds, spelled_count, spelled_seconds
from planner.records.asked.sizes import parse_bytes, spelled_bytes
from planner.records.plan_file import read_plan
from strategies import usual_batch

COMMON: dict[str, Any] = {"gpu": "A100-40GB", "finetuning": "lora"}


@pytest.mark.parametrize(
    ("ranks", "batch"), [(1, 64), (2, 64), (3, 96), (6, 96), (8, 64), (48, 96), (64, 64), (100, 100)]
)
def test_a_usual_batch_is_a_power_of_two_for_each_gpu(ranks: int, batch: int) -> None:
    assert usual_batch(ranks) == batch


def test_objectives_give_the_first_plan_what_they_are_named_after() -> None:
    found = {name: fit("llama-2-7b", objective=name, price=2, gpu="A100-40GB") for name in ("batch", "throughput")}
    plans = [plan for result in found.values() for plan in result.plans if plan.strategy.precision == "bf16-mixed"]
    assert found["batch"].plans[0].global_batch_size == max(plan.global_batch_size for plan in plans)
    fastest = max(plan.time.tokens_per_second for plan in plans)
    assert found["throughput"].plans[0].time.tokens_per_second == fastest
    assert fit("llama-2-7b", objective="cost", price=2, gpu="A100-40GB").plans == found["throughput"].plans
    least = fit("llama-2-7b", objective="memory", gpu="A100-40GB").plans
    assert {plan.global_batch_size for plan in least} == {64}
    assert [p.memory.process_bytes for p in least[:4]] == sorted(p.memory.process_bytes for p in least[:4])


def test_a_batch_is_asked_for_in_sequences_in_tokens_or_by_its_steps() -> None:
    def batches(**asked: Any) -> set[tuple[int, int]]:
        plans = fit("llama-2-7b", **COMMON, **asked).plans
        return {(p.global_batch_size, p.gradient_accumulation_steps) for p in plans}

    assert {batch for batch, _ in batches(global_batch_size=48)} == {48}
    assert {batch for batch, _ in batches(tokens_per_step=96 * 2048)} == {96}
    assert {batch for batch, _ in batches(tokens_per_step="200k")} == {98}  # 97.66 sequences
    assert {steps for _, steps in batches(gradient_accumulation_steps=5)} == {5}
    assert batches(global_batch_size=48, gradient_accumulation_steps=6) == {(48, 6)}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"global_batch_size": 64, "tokens_per_step": 4096}, "both say how large the batch is"),
        ({"max_accumulation": 4, "gradient_accumulation_steps": 4}, "exclude each other"),
        ({"global_batch_size": 64, "max_accumulation": 4}, "exclude each other"),
        ({"global_batch_size": 64, "gradient_accumulation_steps": 5}, "cannot be divided over 1 GPUs x 5"),
        ({"deadline": "24h"}, "not how long the run is"),
        ({"epochs": 3}, "not how long the run is"),
        ({"samples": 10, "tokens": 10}, "both say how long a run is"),
        ({"samples": 10, "batching": "packed"}, "not how long they are"),
        ({"samples": 10, "budget": 5, "gpu": "MI250X"}, "needs the price of a GPU"),
        ({"objective": "cost", "gpu": "MI250X"}, "needs the price of a GPU"),
    ],
)
def test_goals_that_make_no_sense_are_refused(asked: dict[str, Any], says: str) -> None:
    with pytest.raises(ContradictionError, match=says):
        fit("gpt2", **{**COMMON, **asked})


def test_values_that_say_nothing_are_refused() -> None:
    with pytest.raises(InvalidChoiceError, match="fast"):
        fit("gpt2", objective="fast", **COMMON)
    for asked in ({"samples": "many"}, {"samples": 10, "deadline": "soon"}, {"samples": 10, "budget": -1}):
        with pytest.raises(RequestError, match="is such as"):
            fit("gpt2", **COMMON, **asked)
    with pytest.raises(RequestError, match="mean_length is '4x', not a length"):
        fit("gpt2", mean_length="4x", **COMMON)
    assert [parse_length("n", text) for text in ("4096", "4k", "32 K", "0.5k", "1M", 7, None)] == [
        4096,
        4096,
        32768,
        512,
        2**20,
        7,
        None,
    ]
    for number in (1, 999, 52_000, 10**7, 15 * 10**8, 123_456_789, 10**12):
        assert parse_count("n", spelled_count(number)) == number
    for duration in (1.5, 30, 3601, 5400, 86_400, 216_000, 172_800):
        assert parse_seconds("t", spelled_seconds(duration)) == duration
    for size in (7, 256 * 10**9, 480 * 2**30, 10**12, 2**40):
        assert parse_bytes("m", spelled_bytes(size)) == size
    assert (spelled_count(10**9), spelled_seconds(216_000), spelled_bytes(256 * 10**9)) == ("1B", "60h", "256GB")
    assert [parse_seconds("t", text) for text in ("90m", "24H", "2 days", "1hr")] == [5400, 86400, 172800, 3600]
    assert [parse_seconds("t", text) for text in ("90min", "24h", "2d", "30 s", 12)] == [5400, 86400, 172800, 30, 12]
    assert [parse_count("n", text) for text in ("52000", "10M", "1.5B", 7, None)] == [
        52_000,
        10**7,
        15 * 10**8,
        7,
        None,
    ]


def test_a_run_takes_its_samples_at_the_speed_of_a_step() -> None:
    (plan, *_) = fit("llama-2-7b", samples="10k", epochs=2, price=1.8, **COMMON).plans
    assert plan.run is not None
    assert plan.run.steps == -(-20_000 // plan.global_batch_size)
    assert plan.run.seconds == pytest.approx(20_000 / plan.global_batch_size * plan.time.step_seconds)
    assert plan.run.usd == pytest.approx(plan.run.seconds / 3600 * 1.8)
    assert plan.usd_per_million_tokens == pytest.approx(1.8 / 3600 / plan.time.tokens_per_second * 1e6)
    in_tokens = fit("llama-2-7b", tokens=20_000 * 2048, price=1.8, **COMMON).plans[0]
    assert in_tokens.run == plan.run
    packed = fit("llama-2-7b", samples="40k", batching="packed", mean_length=1024, price=1.8, **COMMON).plans[0]
    assert packed.run is not None
    assert packed.run.steps == -(-20_000 // packed.global_batch_size)


def test_plans_beyond_the_deadline_or_the_budget_are_rejected_with_the_reason() -> None:
    free = fit("llama-2-7b", samples="50k", price=1.8, **COMMON)
    slow, fast = sorted(free.plans, key=lambda plan: plan.run.seconds if plan.run else 0)[-1::-1]
    assert slow.run
    assert fast.run
    assert slow.run.usd
    between = (slow.run.seconds + fast.run.seconds) / 2
    in_time = fit("llama-2-7b", samples="50k", deadline=between, **COMMON)
    assert [plan.what for plan in in_time.plans] == [fast.what]
    assert in_time.rejected["takes longer than the deadline"] == 1
    cheap = fit("llama-2-7b", samples="50k", budget=between / 3600 * 1.8, price=1.8, **COMMON)
    assert [plan.what for plan in cheap.plans] == [fast.what]
    assert cheap.rejected["costs more than the budget"] == 1
    none = fit("llama-2-7b", samples="50k", deadline="2h", **COMMON)
    assert (none.plans, none.shortfall) == ((), None)
    assert none.fastest
    assert none.fastest.what == fast.what
    assert "No run ends within 2.0 h. The fastest plan that fits takes" in str(none).replace("\n", " ")


def test_the_plan_to_run_is_the_fastest_at_a_usual_batch_where_the_batch_is_open() -> None:
    result = fit("llama-2-7b", gpu="A100-40GB")
    assert {plan.global_batch_size for plan in result.usual} == {64}
    assert [plan.strategy.finetuning for plan in result.usual] == ["lora", "qlora", "full"]
    assert result.recommended == result.usual[0]
    assert result.recommended.strategy.checkpointing == "none"
    for asked in ({"global_batch_size": 128}, {"objective": "throughput"}, {"objective": "memory"}):
        other = fit("llama-2-7b", gpu="A100-40GB", **asked)
        assert other.recommended == other.plans[0]
    bounded = fit("llama-2-7b", gpu="A100-40GB", max_accumulation=8, finetuning="lora").usual
    assert [plan.gradient_accumulation_steps <= 8 for plan in bounded] == [True]


def test_every_plan_that_is_shown_has_a_number_that_commands_take(tmp_path: Path) -> None:
    result = fit("llama-2-7b", gpu="A100-40GB", top=1, pareto=True)
    file = tmp_path / "plans.json"
    file.write_text(result.model_dump_json())
    number = result.numbered()
    for plan in (*result.plans, *result.usual, *result.best_by_method, *result.front):
        assert read_plan(str(file), number(plan))[1].what == plan.what
    assert len({plan.what for plan in result.listed}) == len(result.listed)


def test_no_plan_of_the_front_beats_another_one() -> None:
    result = fit("llama-2-7b", gpu="A100-40GB", pareto=True)
    values = [(p.global_batch_size, p.time.tokens_per_second, -p.memory.process_bytes) for p in result.front]
    assert not any(a != b and all(x >= y for x, y in zip(a, b, strict=True)) for a in values for b in values)
    assert max(result.plans[:3], key=lambda plan: plan.global_batch_size).what == result.front[0].what
    assert fit("llama-2-7b", gpu="A100-40GB").front == ()


@pytest.mark.parametrize("objective", ["batch", "throughput", "memory"])
def test_what_puts_convergence_at_risk_comes_last_unless_it_is_asked_for(objective: str) -> None:
    wide: dict[str, Any] = {"precision": ["fp16-mixed", "bf16-mixed"], "lora_rank": [4, 16], "objective": objective}
    wide |= {"finetuning": ["lora", "freeze"], "optimizer": ["sgd", "adamw"]}
    first = fit("llama-3.1-8b", gpu="A100-80GB", **wide).plans[0].strategy
    assert (first.precision, first.lora_rank, first.finetuning, first.optimizer) == ("bf16-mixed", 16, "lora", "adamw")
    asked = {"precision": "fp16-mixed", "lora_rank": 4, "finetuning": "lora", "optimizer": "sgd"}
    assert fit("llama-3.1-8b", gpu="A100-80GB", objective=objective, **asked).plans  # type: ignore[arg-type]


def test_large_batches_of_lora_are_noted() -> None:
    def is_noted(**asked: Any) -> bool:
        return any("LoRA Without Regret" in note for note in fit("llama-2-7b", **{**COMMON, **asked}).notes)

    assert is_noted()
    assert not is_noted(global_batch_size=128)
    assert not is_noted(finetuning="full")


def test_an_estimate_takes_an_effective_batch() -> None:
    of_batch = estimate("llama-2-7b", gpu="A100-80GB", gpus=2, micro_batch_size=4, global_batch_size=64)
    assert (of_batch.gradient_accumulation_steps, of_batch.request.gradient_accumulation_steps) == (8, 8)
    of_steps = estimate("llama-2-7b", gpu="A100-80GB", gpus=2, micro_batch_size=4, gradient_accumulation_steps=8)
    assert of_batch.memory == of_steps.memory
    with pytest.raises(ContradictionError, match="no multiple of 8 sequences a pass"):
        estimate("llama-2-7b", gpu="A100-80GB", gpus=2, micro_batch_size=4, global_batch_size=60)
    with pytest.raises(ContradictionError, match="contradict each other"):
        estimate("gpt2", gpu="T4", micro_batch_size=4, global_batch_size=64, gradient_accumulation_steps=3)


def test_a_contrastive_loss_accumulates_nothing_unless_asked_to() -> None:
    pairs = fit("bge-small-en-v1.5", gpu="T4", finetuning="full")
    assert {plan.gradient_accumulation_steps for plan in pairs.listed} == {1}
    asked = fit("bge-small-en-v1.5", gpu="T4", finetuning="full", max_accumulation=4)
    assert asked.plans[0].gradient_accumulation_steps == 4


def test_the_plan_to_run_has_a_number_by_which_it_is_read_back() -> None:
    answer = fit("llama-3.2-1b", gpu="A100-40GB", framework="trl")
    assert answer.plan() is answer.plan(answer.to_run) is answer.recommended
    with pytest.raises(PlannerError, match=r"the answer has \d+ plans, not a plan 99"):
        answer.plan(99)
