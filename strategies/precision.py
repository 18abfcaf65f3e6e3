"""The axis of precision: the dtype of the stored weights and the dtype of the computation."""

from __future__ import annotations

from typing import NamedTuple

from hardware import Dtype
from strategies.axis import Choice, axis_of


class PrecisionFacts(NamedTuple):
    """Bytes per element. `frozen_bytes`: weights that are not trained, which nobody needs in fp32: with a LoRA,
    Trainer's `bf16=True` keeps the base model as it was loaded, in bf16."""

    trained_bytes: int
    frozen_bytes: int
    autocast_bytes: int | None
    matmul_dtype: Dtype
    linear_dtype: Dtype | None = None
    """Of the products of most linear layers, where it is another."""


class Precision(Choice):
    """Named as in Lightning: `-true` stores in the low dtype, `-mixed` stores in fp32 and computes in the low dtype."""

    facts: PrecisionFacts

    FP32 = "fp32", "everything in fp32", PrecisionFacts(4, 4, None, "fp32")
    TF32 = "tf32", "fp32 storage, matrix products on TF32 tensor cores", PrecisionFacts(4, 4, None, "tf32")
    FP16_MIXED = "fp16-mixed", "fp32 weights, autocast to fp16, loss scaling", PrecisionFacts(4, 2, 2, "fp16")
    BF16_MIXED = "bf16-mixed", "fp32 weights, autocast to bf16", PrecisionFacts(4, 2, 2, "bf16")
    BF16_TRUE = "bf16-true", "bf16 weights, gradients and states", PrecisionFacts(2, 2, None, "bf16")
    FP16_TRUE = "fp16-true", "fp16 weights, for frozen ones only", PrecisionFacts(2, 2, None, "fp16")
    FP8_MIXED = (
        "fp8-mixed",
        "bf16-mixed, and linear layers multiply in fp8 (torchao float8, tensorwise scales, as accelerate runs it)",
        PrecisionFacts(4, 2, 2, "bf16", "fp8"),
    )


AXIS = axis_of(Precision)
