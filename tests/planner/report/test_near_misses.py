"""What is beyond a search's budget and within the GPU fits and is told to be tight, unless a headroom is asked for."""

from __future__ import annotations

import re

import pytest

from planner import EstimateResult, estimate, explain, fit, verify


def asked(sequence_length: int, headroom: float | None = 0.05) -> EstimateResult:
    options = {"finetuning": "lora", "checkpointing": "full", "headroom": headroom}
    return estimate("llama-2-7b", gpu="A100-40GB", sequence_length=sequence_length, **options)


@pytest.mark.parametrize("sequence_length", [38800, 39000])
def test_a_run_fits_with_the_headroom_that_the_answer_names(sequence_length: int) -> None:
    found = re.search(r"too many; fits with --headroom (\d)%", str(asked(sequence_length)))
    assert found
    assert not asked(sequence_length).memory.fits
    assert asked(sequence_length, int(found[1]) / 100).memory.fits


@pytest.mark.parametrize("sequence_length", [4096, 39500])
def test_what_fits_and_what_no_headroom_makes_fit_is_told_as_before(sequence_length: int) -> None:
    assert "fits with --headroom" not in str(asked(sequence_length))


def test_less_headroom_is_no_way_out_where_none_is_left_free() -> None:
    assert "fits with --headroom" not in str(asked(39500, 0.0))


def test_without_a_headroom_a_configuration_fits_where_the_gpu_has_its_bytes() -> None:
    tight, beyond = asked(39000, None), asked(43000, None)
    assert tight.memory.fits
    assert tight.is_tight
    assert "tight: a search leaves 5%" in str(tight)
    assert tight.memory.budget_bytes == tight.request.gpu_memory_bytes
    assert not beyond.memory.fits
    assert not beyond.is_tight


@pytest.mark.parametrize(("sequence_length", "headroom"), [(4096, None), (39000, 0.0)])
def test_what_leaves_enough_or_is_asked_to_leave_nothing_is_not_tight(
    sequence_length: int, headroom: float | None
) -> None:
    result = asked(sequence_length, headroom)
    assert result.memory.fits
    assert not result.is_tight
    assert "tight" not in str(result)


def test_what_is_proposed_in_place_of_a_configuration_leaves_the_usual_share() -> None:
    (way, *_) = asked(43000, None).ways
    assert way.plan is not None
    assert way.plan.memory.budget_bytes == asked(39500).memory.budget_bytes


def test_a_search_leaves_a_share_free_unless_told_otherwise() -> None:
    found = fit("llama-2-7b", gpu="A100-40GB", finetuning="lora", top=1)
    assert found.request.headroom == 0.05
    assert found.plans[0].memory.budget_bytes == asked(4096).memory.budget_bytes


def test_explaining_and_verifying_judge_as_estimating_does() -> None:
    options = {"gpu": "1.6GiB", "sequence_length": 128, "optimizer": "sgd", "precision": "fp32"}
    found = estimate("gpt2", **options)
    assert found.is_tight
    assert explain("gpt2", **options).plan.memory.budget_bytes == found.memory.budget_bytes
    verified = verify("gpt2", **options)
    assert verified.fits
    assert verified.plan.memory.budget_bytes == found.memory.budget_bytes
