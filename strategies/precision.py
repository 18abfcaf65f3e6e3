"""Defines the axis of precision: the dtype of the stored weights and the dtype of the computation."""

from collections.abc import Mapping
from typing import NamedTuple

from hardware import Dtype
from strategies.axis import axis_of
from strategies.choice import Choice


class PrecisionFacts(NamedTuple):
    """Holds the dtypes of weights and of the computation.

    Attributes:
        trained_bytes: Bytes per element of trained weights.
        frozen_bytes: Bytes per element of frozen weights, which are not needed in fp32: with LoRA, Trainer's
            `bf16=True` keeps the base model as it was loaded, in bf16.
        autocast_bytes: Bytes per element of autocast's dtype; None without autocast.
        matmul_dtype: Dtype in which matrices are multiplied.
    """

    trained_bytes: int
    frozen_bytes: int
    autocast_bytes: int | None
    matmul_dtype: Dtype
    linear_dtype: Dtype | None = None
    """Dtype of the products of most linear layers, where it differs from `matmul_dtype`."""


class Precision(Choice):
    """Names precisions as Lightning does.

    `-true` stores weights in the low dtype; `-mixed` stores them in fp32 and computes in the low dtype.
    """

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

    @classmethod
    def spellings(cls) -> Mapping[str, str]:
        """Returns the names of accelerate's `mixed_precision` and TrainingArguments' flags, and those of Lightning."""
        mixed = {"bf16": cls.BF16_MIXED, "fp16": cls.FP16_MIXED, "16-mixed": cls.FP16_MIXED, "fp8": cls.FP8_MIXED}
        return {**mixed, "32-true": cls.FP32, "float32": cls.FP32, "no": cls.FP32, "16-true": cls.FP16_TRUE}

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns torch's dtypes, which weights may be stored in or not, words for mixed precision and for QLoRA."""
        stored = "bf16-mixed, with --finetuning qlora --quantization {}"
        four, eight = ("4bit", "4-bit", "int4", "nf4", "fp4"), ("8bit", "8-bit", "int8")
        half = dict.fromkeys(("float16", "half"), "fp16-mixed, or fp16-true")
        return {
            "bfloat16": "bf16-mixed, or bf16-true",
            **half,
            **dict.fromkeys(("mixed", "amp", "auto"), "bf16-mixed, or fp16-mixed"),
            **dict.fromkeys(four, stored.format("nf4")),
            **dict.fromkeys(eight, stored.format("int8")),
        }


AXIS = axis_of(Precision)
