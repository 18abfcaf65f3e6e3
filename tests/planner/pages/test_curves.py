"""The numbers of pictures are those of `estimate`."""

from __future__ import annotations

from typing import Any

import pytest

from planner import EstimateResult, estimate
from planner.answers.curves import Curves
from planner.pages.subjects import Subject, sheet_of
from planner.report.parts.categories import CATEGORIES

CASES: tuple[dict[str, Any], ...] = (
    {"model": "llama-2-7b", "gpu": "A100-40GB", "finetuning": "qlora", "checkpointing": "full", "micro_batch_size": 24},
    {"model": "qwen2.5-0.5b", "gpu": "T4", "loss": "liger-fused-linear", "micro_batch_size": 3},
    {"model": "llama-3-8b", "gpu": "H100", "gpus": 8, "gradient_accumulation_steps": 4, "evaluation_batch_size": 8},
    {"model": "llama-2-7b", "gpu": "T4", "finetuning": "lora"},
    {"model": "pythia-70m", "gpu": "T4", "precision": "fp16-mixed", "allocator": "native", "micro_batch_size": 2},
)


@pytest.fixture(params=CASES, ids=lambda case: f"{case['model']} on {case['gpu']}", scope="module")
def drawn(request: pytest.FixtureRequest) -> tuple[dict[str, Any], EstimateResult, Curves]:
    plan = estimate(**request.param)
    (subject,) = sheet_of([plan], None).subjects
    assert subject.curves is not None
    return request.param, plan, subject.curves


def test_the_categories_of_each_moment_add_up_and_the_plan_is_its_peak(
    drawn: tuple[dict[str, Any], EstimateResult, Curves],
) -> None:
    _, plan, curves = drawn
    for moment in curves.moments:
        assert sum(getattr(moment.components, c.field) for c in CATEGORIES) == moment.process_bytes
        assert all(getattr(moment.components, c.field) >= 0 for c in CATEGORIES)
    (peak,) = (moment for moment in curves.moments if moment.is_peak)
    assert (peak.name, peak.process_bytes) == (plan.memory.moment, plan.memory.process_bytes)
    assert {moment.name for moment in curves.moments} == set(plan.memory.moments)
    if plan.strategy.allocator != "native":
        assert max(moment.process_bytes for moment in curves.moments) == peak.process_bytes


def test_points_are_what_an_estimate_says(drawn: tuple[dict[str, Any], EstimateResult, Curves]) -> None:
    case, plan, curves = drawn
    exact = plan.strategy.allocator != "native"  # whose curve is the closed form, without the model of the allocator
    for name, points in (("micro_batch_size", curves.by_micro_batch), ("sequence_length", curves.by_length)):
        for point in (points[0], points[len(points) // 2], points[-1]):
            other = estimate(**{**case, name: point.at})
            # An allocator near its limit gives cached blocks back, which the closed form of the curve leaves out.
            over = point.process_bytes > plan.memory.budget_bytes and other.memory.fits
            assert over or not exact or other.memory.process_bytes == point.process_bytes
            assert other.time.tokens_per_second == pytest.approx(point.tokens_per_second)
            assert point.slowest < point.tokens_per_second < point.fastest
    assert plan.micro_batch_size in {point.at for point in curves.by_micro_batch}
    assert plan.request.sequence_length in {point.at for point in curves.by_length}


def test_the_curve_crosses_the_budget_behind_the_largest_micro_batch_that_fits(
    drawn: tuple[dict[str, Any], EstimateResult, Curves],
) -> None:
    _, plan, curves = drawn
    fitting = [p.at for p in curves.by_micro_batch if p.process_bytes <= plan.memory.budget_bytes]
    assert curves.largest_micro_batch == max(fitting, default=0)
    assert curves.by_micro_batch[-1].process_bytes > plan.memory.budget_bytes


def test_sequences_are_no_longer_than_learned_positions() -> None:
    (subject,) = sheet_of([estimate("gpt2", gpu="T4", precision="fp16-mixed")], None).subjects
    assert lengths(subject) == [128, 192, 256, 384, 512, 768, 1024]
    (subject,) = sheet_of([estimate("vit-base-patch16-224", gpu="T4", precision="fp16-mixed")], None).subjects
    assert lengths(subject) == []


def lengths(subject: Subject) -> list[int]:
    assert subject.curves is not None
    return [point.at for point in subject.curves.by_length]
