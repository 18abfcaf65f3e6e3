"""What a process asks of the allocator: the peaks of the closed form by another way, and what is served of it."""

from __future__ import annotations

from typing import Any

import pytest

import planner.answers.settled as settling
from planner import fit
from planner.answers import settled_at_once
from planner.answers.settled import settled
from planner.memory.requests.requests import Requests
from planner.memory.reserved import processes_of, reserved, reserved_by
from planner.problem.resolve import resolve_one
from planner.search import Candidate, Solver
from strategies import Allocator

STRATEGIES: tuple[dict[str, Any], ...] = (
    {"precision": "bf16-mixed"},
    {"precision": "bf16-mixed", "checkpointing": "full"},
    {"precision": "bf16-mixed", "checkpointing": "selective-matmuls", "optimizer": "adamw-foreach"},
    {"precision": "bf16-true", "finetuning": "lora"},
    {"precision": "bf16-mixed", "finetuning": "qlora", "checkpointing": "full"},
    {"precision": "bf16-mixed", "attention": "eager", "loss": "liger-fused-linear"},
    {"precision": "bf16-true", "optimizer": "adafactor", "update": "in-backward"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "full_shard", "checkpointing": "full"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "shard_grad_op", "gradient_sync": "last"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "full_shard", "sharding_backend": "fsdp1"},
    {"precision": "bf16-true", "gpus": 2, "sharding": "no_shard", "gradient_buckets": "views"},
    {"precision": "bf16-mixed", "gpus": 8, "sharding": "zero1", "optimizer": "apollo-mini", "loss": "chunked"},
    {"precision": "bf16-true", "gpus": 2, "sharding": "no_shard", "gradient_buckets": "copies"},
    {"precision": "bf16-true", "outputs": "kept"},
    {"precision": "bf16-mixed", "finetuning": "lora", "checkpointing": "full-reentrant", "outputs": "kept"},
    {"precision": "fp32", "outputs": "kept-in-step"},
)

TOLERANCE = 0.002
"""Relative difference between the two ways, most of it from tensors that only the closed form rounds up."""


def asked(model: str, choices: dict[str, Any], size: int, steps: int) -> tuple[Solver, Candidate, Requests]:
    """Returns a candidate with the requests of its steps."""
    axes = {axis: choice for axis, choice in choices.items() if axis not in ("gpus", "outputs")}
    asked = {"gpus": choices.get("gpus", 1), "outputs": choices.get("outputs", "released")}
    workload = {**asked, "nodes": 1, "sequence_length": 1024, "headroom": 0.05}
    _, solver, candidate = resolve_one(model, "A100-80GB-SXM", None, axes, workload, size, steps)
    (process,) = processes_of(solver.model, candidate.strategy, size, steps)
    requests = process.requests()
    return solver, candidate, requests


def peak(requests: Requests) -> int:
    """Returns the largest number of bytes that are alive at once."""
    now = most = 0
    for _, num_bytes in requests.made:
        now += num_bytes
        most = max(most, now)
    return most


@pytest.mark.parametrize(("size", "steps"), [(2, 1), (5, 3)])
@pytest.mark.parametrize("choices", STRATEGIES, ids=lambda c: " ".join(map(str, c.values())))
def test_requests_peak_where_the_closed_form_does(choices: dict[str, Any], size: int, steps: int) -> None:
    steps = 1 if choices.get("update") == "in-backward" else steps
    _, candidate, requests = asked("llama-3.2-1b", choices, size, steps)
    moments = candidate.footprint.moments(size)
    expected = max(
        num_bytes for moment, num_bytes in moments.items() if moment not in ("loading", "evaluation", "saving")
    )
    assert peak(requests) == pytest.approx(expected, rel=TOLERANCE)


def test_everything_but_what_persists_is_released() -> None:
    _, candidate, requests = asked("llama-3.2-1b", {"precision": "bf16-mixed", "checkpointing": "full"}, 2, 2)
    left = sum(num_bytes for _, num_bytes in requests.made)
    persistent, ids = candidate.footprint.persistent.total, 2 * 1024 * 2 * 8
    assert left == persistent + candidate.footprint.outside.workspace_bytes + ids


def test_fsdp1_moves_each_shard_to_the_host_before_it_wraps_the_next_unit() -> None:
    choices = {"precision": "bf16-true", "gpus": 2, "sharding": "full_shard", "sharding_backend": "fsdp1"}
    _, candidate, _ = asked("llama-2-7b", choices, 1, 1)
    _, _, requests = asked("llama-2-7b", choices | {"offload": "cpu"}, 1, 1)
    loading = Requests()
    loading.made = requests.made[: requests.loaded]
    assert peak(loading) < candidate.footprint.persistent.parameters / 4


def test_a_storage_is_released_once_nobody_uses_it() -> None:
    requests = Requests()
    storage = requests.share(requests.allocate(512))
    requests.release(storage)
    assert requests.made == [(1, 512)]
    requests.release(storage)
    assert requests.made == [(1, 512), (1, -512)]
    assert requests.allocate(0) == 0


@pytest.mark.parametrize("choices", STRATEGIES, ids=lambda c: str(c))
def test_requests_that_are_served_while_they_are_made_reserve_as_much(choices: dict[str, Any]) -> None:
    steps = 1 if choices.get("update") == "in-backward" else 3
    solver, candidate, requests = asked("smollm2-135m", choices, 2, steps)
    (process,) = processes_of(solver.model, candidate.strategy, 2, steps)
    for share in (1.2, 1.02, 1, 0.98):
        limit = round(share * candidate.footprint.allocated_bytes(2))
        assert reserved_by(process, Allocator.NATIVE, limit) == reserved(requests, Allocator.NATIVE, limit)


@pytest.mark.parametrize("checkpointing", ["none", "full"])
def test_the_largest_micro_batch_that_is_served_is_found(checkpointing: str) -> None:
    axes = {"allocator": "native", "finetuning": "lora", "optimizer": "adamw", "checkpointing": checkpointing}
    workload = {"gpus": 1, "nodes": 1, "sequence_length": 2048, "headroom": 0.05}
    _, solver, candidate = resolve_one("llama-3.2-1b", "RTX-4090", None, axes, workload, 1, 1)
    served = []
    for size in range(1, 20):
        alone = Solver(solver.model, solver.budget_bytes, solver.accumulation, (size,))
        if settled(alone.candidate(candidate.strategy, size, 1), alone) is not None:
            served.append(size)
    best = settled(candidate, solver)
    assert served
    assert best is not None
    assert best.micro_batch_size == max(served)


def test_several_processes_settle_what_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threading.active_count", lambda: 1)
    monkeypatch.setattr(settled_at_once, "LEAST_PARTS", 0)
    found, here = [], []
    for processes in (1, 2):
        calls: list[Candidate] = []

        def counted(candidate: Candidate, solver: Solver, calls: list[Candidate] = calls) -> Candidate | None:
            calls.append(candidate)
            return settled(candidate, solver)

        monkeypatch.setattr(settling, "settled", counted)
        monkeypatch.setattr(settled_at_once, "forked", lambda tasks, most=processes: min(tasks, most))
        result = fit("gpt2", gpu="T4", allocator="native", sequence_length=256)
        found.append((result.plans, result.best_by_method, result.usual, result.rejected))
        here.append(len(calls))
    assert found[0] == found[1]
    assert here[1] < here[0]  # the others have been called in the processes


def test_native_plans_are_served_within_the_budget_and_a_larger_micro_batch_is_not() -> None:
    result = fit("llama-3.2-1b", gpu="RTX-4090", allocator="native", finetuning="lora", checkpointing="full")
    plan, length = result.plans[0], result.request.sequence_length
    choices = {"precision": plan.strategy.precision, "finetuning": "lora", "checkpointing": "full"}
    for size, served in ((plan.micro_batch_size, True), (plan.micro_batch_size + 1, False)):
        axes = {**choices, "allocator": "native"}
        workload = {"gpus": 1, "nodes": 1, "sequence_length": length, "headroom": 0.05}
        steps = plan.gradient_accumulation_steps
        _, solver, candidate = resolve_one("llama-3.2-1b", "RTX-4090", None, axes, workload, size, steps)
        (process,) = processes_of(solver.model, candidate.strategy, size, steps)
        requests = process.requests()
        limit = candidate.footprint.outside.reserved_within(solver.budget_bytes)
        assert reserved(requests, Allocator.NATIVE, limit).fits is served
