"""Each precision stores and computes in the dtypes that Lightning, Trainer and accelerate give it."""

from __future__ import annotations

from strategies import AXES, Precision
from strategies.precision import PrecisionFacts


def test_each_precision_has_the_bytes_and_the_dtypes_of_its_libraries() -> None:
    assert {choice: choice.facts for choice in Precision} == {
        # trained and frozen weights, autocast, matrix products, linear layers where they differ
        Precision.FP32: PrecisionFacts(4, 4, None, "fp32"),
        Precision.TF32: PrecisionFacts(4, 4, None, "tf32"),
        Precision.FP16_MIXED: PrecisionFacts(4, 2, 2, "fp16"),
        Precision.BF16_MIXED: PrecisionFacts(4, 2, 2, "bf16"),
        Precision.BF16_TRUE: PrecisionFacts(2, 2, None, "bf16"),
        Precision.FP16_TRUE: PrecisionFacts(2, 2, None, "fp16"),
        Precision.FP8_MIXED: PrecisionFacts(4, 2, 2, "bf16", "fp8"),
    }


def test_only_mixed_precision_runs_under_autocast() -> None:
    autocast = {choice for choice in Precision if choice.facts.autocast_bytes is not None}
    assert autocast == {choice for choice in Precision if choice.endswith("-mixed")}


def test_a_precision_has_no_options_that_refine_it() -> None:
    axis = AXES["precision"]
    assert [option.name for option in axis.options] == ["precision"]
    assert axis.value({"precision": Precision.TF32}) is Precision.TF32
    assert axis.to_options(Precision.TF32) == {"precision": Precision.TF32}
