"""The arithmetic that everyone learns first, and the planner's account of it."""

import pytest

from planner import estimate
from planner.memory.linear import nf4
from strategies import Precision

GB = 10**9


def test_bytes_per_parameter_are_four_in_fp32_two_in_half_precision_and_half_a_byte_in_nf4() -> None:
    assert Precision.FP32.facts.trained_bytes == 4
    assert Precision.BF16_TRUE.facts.trained_bytes == 2
    assert Precision.FP16_MIXED.facts.frozen_bytes == 2
    assert nf4.stored_bytes(1, 64, double=False) - nf4.TABLE_BYTES == 32 + 4


def test_a_model_of_a_billion_parameters_loads_in_4_gb_and_trains_in_17() -> None:
    result = estimate("1B", gpu="A100-40GB", precision="fp32", sequence_length=256, gradient_accumulation_steps=4)
    parts = result.memory.components
    assert parts.parameters / GB == pytest.approx(4, rel=0.01)
    assert parts.gradients / GB == pytest.approx(4, rel=0.01)
    assert parts.optimizer_states / GB == pytest.approx(8, rel=0.01)
    assert parts.activations / GB == pytest.approx(1, rel=0.1)
    assert result.memory.allocated_bytes / GB == pytest.approx(17, rel=0.02)
