"""Ways out of what does not fit: each printed command works, no part of it would do, and they are told by cost."""

from __future__ import annotations

import json
import shlex
from itertools import combinations
from typing import Any

import pytest
from click.testing import CliRunner

from planner import estimate, fit
from planner.advice import minimal, techniques, ways
from planner.advice.changes import items_of, options_of
from planner.advice.fitting_machines import TooSmall, with_one_change
from planner.advice.machines import other_machines
from planner.advice.trials import best_near, tried
from planner.advice.variants import Variants
from planner.cli import main
from planner.problem.problem import Problem
from planner.problem.search_request import solver_of
from planner.records.advice import Cost, Way
from planner.search.exhaustive import possible
from strategies import OPTIONS, Checkpointing, Kernels, Loss, Objective, Optimizer, Update

REQUESTS: dict[str, tuple[str, dict[str, Any]]] = {
    "a long sequence on four cards": ("qwen2.5-14b", {"gpu": "RTX-3090", "gpus": 4, "sequence_length": 8192}),
    "full fine-tuning on one card": ("gemma-3-4b", {"gpu": "RTX-4090", "finetuning": "full"}),
    "a base that no card holds": ("llama-3-70b", {"gpu": "RTX-4090", "gpus": 2, "finetuning": "qlora"}),
    "one small card": ("phi-2", {"gpu": "4GiB"}),
    "a wanted batch": ("qwen3-8b", {"gpu": "L4", "global_batch_size": 64, "sequence_length": 16384}),
    "large micro-batches": ("gpt2", {"gpu": "T4", "micro_batch_size": 256}),
    "an AMD card": ("gpt2", {"gpu": "MI210", "sequence_length": 1024, "micro_batch_size": 300}),
}


def spelled(command: str, model: str, options: dict[str, Any]) -> list[str]:
    return [command, model, *(text for n, v in options.items() for text in (f"--{n.replace('_', '-')}", str(v)))]


def answer(command: str) -> tuple[int, dict[str, Any]]:
    program, *arguments = shlex.split(command)
    assert program == "planner"
    result = CliRunner().invoke(main, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.parametrize("name", REQUESTS)
def test_each_command_works_when_it_is_pasted(name: str) -> None:
    model, options = REQUESTS[name]
    shortfall = fit(model, **options).shortfall
    assert shortfall is not None
    assert shortfall.ways
    for way in shortfall.ways:
        code, found = answer(way.command)
        assert code == 0, way.command
        assert found["plans"]


@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("llama-2-7b", {"gpu": "RTX-4090", "finetuning": "lora", "micro_batch_size": 8}),
        ("gemma-3-4b", {"gpu": "RTX-4090", "precision": "bf16-true", "checkpointing": "full"}),
        ("llama-3-8b", {"gpu": "A100-40GB", "gpus": 2, "finetuning": "lora", "sequence_length": 16384}),
        ("pythia-1b", {"gpu": "T4", "gradient_accumulation_steps": 4, "precision": "fp32"}),
    ],
    ids=str,
)
def test_an_estimate_that_does_not_fit_ends_with_commands_that_do(model: str, options: dict[str, Any]) -> None:
    result = CliRunner().invoke(main, [*spelled("estimate", model, options), "--json"])
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert not found["memory"]["fits"]
    assert found["ways"]
    for way in found["ways"]:
        code, plan = answer(way["command"])
        assert code == 0, way["command"]
        assert plan["memory"] == way["plan"]["memory"] | {
            "unlimited_reserved_bytes": plan["memory"]["unlimited_reserved_bytes"]
        }


def test_what_fits_has_no_ways_out() -> None:
    plan = estimate("gpt2", gpu="T4")
    assert plan.memory.fits
    assert plan.ways == ()


@pytest.mark.parametrize("name", REQUESTS)
def test_ways_are_told_by_what_they_cost(name: str) -> None:
    model, options = REQUESTS[name]
    shortfall = fit(model, **options).shortfall
    assert shortfall is not None
    costs = [way.cost for way in shortfall.ways]
    assert costs == sorted(costs, key=lambda cost: list(Cost).index(cost or Cost.FLAG))


def told(model: str, **options: Any) -> tuple[Way, ...]:
    shortfall = fit(model, **options).shortfall
    assert shortfall is not None
    return shortfall.ways


def test_a_long_sequence_on_four_cards_needs_a_flag_or_a_fused_loss() -> None:
    model, options = REQUESTS["a long sequence on four cards"]
    ways = told(model, **options)
    assert ways[0].cost is Cost.FLAG
    (fused,) = (way for way in ways if way.options == {"loss": "liger-fused-linear"})
    assert fused.cost is Cost.PACKAGE
    assert "liger-kernel" in fused.price
    assert all(len(way.options) == 1 or way.cost is Cost.MONEY for way in ways)


def test_full_finetuning_of_a_small_model_is_told_the_update_in_backward_and_paged_states() -> None:
    model, options = REQUESTS["full fine-tuning on one card"]
    ways = {str(way.options): way for way in told(model, **options)}
    assert "neither clipped nor accumulated" in ways["{'update': 'in-backward'}"].price
    assert "bitsandbytes" in ways["{'optimizer': 'paged-adamw-8bit'}"].price
    assert (ways["{'optimizer': 'paged-adamw-8bit'}"].relative_time or 0) > 1


def test_one_larger_card_comes_before_many_small_ones() -> None:
    for model in ("llama-3-8b", "llama-2-13b"):
        money = [way for way in told(model, gpu="T4", finetuning="full") if way.cost is Cost.MONEY]
        assert money[0].plan is not None
        assert money[0].plan.data_parallel_size == 1
        assert all((way.plan.data_parallel_size if way.plan else 0) < 64 for way in money)


FEW = (
    techniques.Change({"checkpointing": Checkpointing.FULL}, "a"),
    techniques.Change({"loss": Loss.CHUNKED}, "b", Cost.PACKAGE),
    techniques.Change({"optimizer": Optimizer.PAGED_ADAMW_8BIT}, "c", Cost.PACKAGE),
    techniques.Change({"update": Update.IN_BACKWARD}, "d", Cost.PACKAGE),
    techniques.Change({"kernels": Kernels.LIGER}, "e", Cost.PACKAGE),
)


TOO_LARGE: dict[str, dict[str, Any]] = {
    "gpt2-xl": {"precision": "fp32", "checkpointing": "none", "optimizer": "adamw", "sequence_length": 1024},
    "llama-3-8b": {"precision": "bf16-true", "checkpointing": "none", "sequence_length": 4096},
    "gemma-3-4b": {"precision": "bf16-true", "optimizer": "adamw"},
    "smollm2-1.7b": {"precision": "bf16-mixed", "micro_batch_size": (16,)},
}


@pytest.mark.parametrize(
    ("model", "gpu"),
    [*((model, gpu) for model in TOO_LARGE for gpu in ("RTX-3090", "RTX-4080")), ("llama-3-8b", "A100-40GB")],
)
def test_brute_force_finds_the_same_smallest_sets(model: str, gpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = TOO_LARGE[model]
    monkeypatch.setattr(techniques, "TECHNIQUES", FEW)
    monkeypatch.setattr(ways, "workload_changes", lambda _: ())
    monkeypatch.setattr(ways, "shorter", lambda _: ())
    monkeypatch.setattr(minimal, "MOST_OF_A_COST", 1000)
    sizes = {name: value for name, value in options.items() if name not in OPTIONS}
    values = {"max_accumulation": 16, "objective": Objective.BATCH, **sizes}
    axes = {name: value for name, value in options.items() if name in OPTIONS}
    problem = Problem(model, gpu, None, {**axes, "finetuning": "full"}, values)
    solver, space = solver_of(problem), problem.space()
    variants = Variants(problem, space, solver)
    strategies = [chain.least for chain in possible(space, variants.changed({}).solver)[0]]
    trials = [trial for s in strategies if (trial := tried(variants.changed({}), s)) is not None]
    assert not any(trial.fits for trial in trials)
    least = min(trials, key=lambda trial: trial.size)
    found = {items_of(one.changes) for one in ways.of_techniques(variants, trials, least)}

    fits = set()
    known = [*techniques.changes_from(techniques.values_of(trial.strategy for trial in trials))]
    for number in range(1, len(known) + 1):
        for made in combinations(known, number):
            trial = best_near(variants.changed(options_of(made)), None)
            if trial is not None and trial.fits:
                fits.add(items_of(made))
    smallest = {items for items in fits if not any(other < items for other in fits)}
    assert found == {items for items in smallest if len(items) < minimal.MOST_CHANGES or len(smallest) == 1}


@pytest.mark.parametrize("model", ["gemma-3-4b", "llama-3-8b", "qwen2.5-7b"])
def test_brute_force_finds_the_same_machine_beside_a_change(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(techniques, "TECHNIQUES", FEW)
    axes = {"finetuning": "full", "precision": "bf16-true", "optimizer": "adamw", "checkpointing": "none"}
    problem = Problem(model, "RTX-4090", None, axes, {"max_accumulation": 16, "objective": Objective.BATCH})
    variants = Variants(problem, problem.space(), solver_of(problem))
    trial = best_near(variants.changed({}), None)
    assert trial is not None
    failed, alone = [], None
    for machine in other_machines(variants):
        on_machine = best_near(variants.changed(machine.options), None)
        if on_machine is not None and not on_machine.fits:
            failed.append(TooSmall(machine, on_machine))
        elif on_machine is not None:
            alone = machine
            break
    assert alone is not None
    first = None
    for machine, _ in failed:
        both = [(machine, change) for change in FEW if not change.but]
        tries = [(made, best_near(variants.changed(options_of(made)), None)) for made in both]
        fitting = [(made, one) for made, one in tries if one and one.fits]
        fits = [(made[1].cost.place, one.seconds_per_token(), made) for made, one in fitting]
        fits = [one for one in fits if one[1] <= 2 * trial.seconds_per_token()]
        if first := min(fits, key=lambda one: one[:2], default=None):
            break
    found = with_one_change(variants, trial, failed, [change for change in FEW if not change.but])
    assert (found.changes if found else None) == (first[2] if first else None)


def test_what_lacks_memory_and_then_time_is_told_ways_without_more_memory_to_save() -> None:
    result = fit("llama-3-8b", gpu="T4", finetuning="full", tokens="100M", deadline="6h")
    assert result.shortfall is not None
    assert all(way.plan.run is None or way.plan.run.seconds <= 6 * 3600 for way in result.shortfall.ways)


def test_the_optimizer_moves_to_the_host_whatever_optimizer_takes_the_least_on_the_gpu() -> None:
    """DeepSpeed's optimizer on the host is AdamW with fp32 states, and 8-bit states in bf16 are the smallest."""
    options = {"gpu": "A100-40GB", "gpus": 8, "finetuning": "full", "sharding": "zero2"}
    shortfall = fit("llama-2-13b", **options).shortfall
    assert shortfall is not None
    (way,) = [way for way in shortfall.ways if way.options.get("offload") == "optimizer"]
    assert way.cost is Cost.FLAG
    assert way.plan is not None
    assert way.plan.strategy.precision == "bf16-mixed"


def test_an_offload_that_the_host_does_not_hold_names_the_memory_of_a_node_that_would() -> None:
    options = {"gpu": "RTX-4090", "gpus": 4, "finetuning": "full", "sharding": "zero3"}
    shortfall = fit("llama-2-13b", **options).shortfall
    assert shortfall is not None
    (way,) = [way for way in shortfall.ways if way.options.keys() == {"offload", "host-memory"}]
    assert way.cost is Cost.MONEY
