"""The model, by public options alone, against every peak measured on a T4 and an RTX 4080 that `benchmarks` holds."""

from typing import Any

import pytest
from measured.peaks import CASES, errors

TOLERANCE = {"t4": {"lora": 0.005, "qlora": 0.015}, "rtx4080": {"lora": 0.005, "qlora": 0.016}}
"""Largest relative error of allocated bytes. NF4 weights are quantized while they are loaded, and what that leaves in
the caching allocator's blocks, about 20 MiB, is not modelled; nor are the blocks of native segments, which are larger
than the tensors in them (by the allocator's model 103 of 146 MiB in one case on the RTX 4080)."""

OF_RESERVED = 0.02
"""The same of what the native allocator reserves, in LoRA runs: a few segments of the smallest model. QLoRA runs loaded
weights in an order of chance."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_allocated_bytes_equal_what_a_gpu_reported(case: dict[str, Any]) -> None:
    allocated, reserved = errors(case)
    assert abs(allocated) <= TOLERANCE[case["rig"]][case["method"]]
    assert abs(reserved) <= OF_RESERVED or case["method"] == "qlora"
