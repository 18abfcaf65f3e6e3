"""What is beyond the budget and within the GPU is told with the headroom that it leaves."""

from __future__ import annotations

import re

import pytest

from planner import EstimateResult, estimate


def asked(sequence_length: int, headroom: float = 0.05) -> EstimateResult:
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
