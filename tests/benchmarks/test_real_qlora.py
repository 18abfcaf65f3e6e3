"""QLoRA steps that bitsandbytes' own layers run on the CPU, beside their replays."""

from __future__ import annotations

import pytest
from real_qlora import CASES, Case, compare

TOLERANCE = 0.005
"""Largest relative difference between replay and real run, phase by phase."""

FEW_BYTES = 1024
"""What a real run has in addition: one number of 8 bytes for each of 21 adapters, and in the first run of a process the
tables of bitsandbytes' CPU kernels."""


@pytest.mark.slow
@pytest.mark.parametrize("case", [CASES[0], CASES[3], CASES[5], CASES[6], CASES[-2]], ids=str)
def test_a_replay_has_the_bytes_of_the_real_step(case: Case) -> None:
    comparison = compare(case)
    assert comparison.differences == pytest.approx(dict.fromkeys(comparison.differences, 0.0), abs=TOLERANCE)
    for phase in comparison.differences:
        assert abs(comparison.real[phase] - comparison.replayed[phase]) < FEW_BYTES


def test_cases_cover_both_dtypes_of_what_stays_unquantized() -> None:
    tried = {(case.quantization, case.unquantized) for case in CASES}
    assert tried == {(q, u) for q in ("nf4", "nf4-double") for u in ("fp32", "bf16")}
