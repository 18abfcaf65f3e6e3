"""A precision is refused with what cannot be computed, scaled or trained in its dtypes."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import BF16, on, refused

from strategies import (
    PLAIN,
    AdapterDtype,
    BitFit,
    Freeze,
    Fsdp1,
    Fsdp2,
    Full,
    Lora,
    Method,
    Optimizer,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    TrainedModules,
    UnquantizedDtype,
)

FP16 = PLAIN._replace(precision=Precision.FP16_MIXED, optimizer=Optimizer.ADAMW)
ADAPTERS_IN_FP16 = "gradient scaling refuses adapters in fp16"
MODULES_IN_FP16 = "gradient scaling refuses trained modules in fp16, which PEFT leaves them in"
HEAD, NF4 = TrainedModules.HEAD, Quantization.NF4


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        (Lora(), ""),
        (Lora(adapter_dtype=AdapterDtype.WEIGHTS), ADAPTERS_IN_FP16),
        (Lora(trained_modules=HEAD), MODULES_IN_FP16),
        (Lora(trained_modules=TrainedModules.EMBEDDINGS), MODULES_IN_FP16),
        (Lora(quantization=Quantization.GPTQ, trained_modules=HEAD), MODULES_IN_FP16),
        (Lora(quantization=Quantization.GPTQ), ""),
        (Lora(quantization=Quantization.AWQ, trained_modules=HEAD), ""),
        (Lora(quantization=Quantization.NF4, trained_modules=HEAD), ""),
        (Freeze(trained_modules=HEAD), ""),
    ],
    ids=str,
)
def test_gradient_scaling_takes_no_gradients_in_fp16(method: Method, reason: str) -> None:
    assert refused(FP16._replace(finetuning=method)) == reason
    assert refused(BF16._replace(finetuning=method)) == ""


def test_fsdp_scales_gradients_of_adapters_that_accelerate_raises_to_fp32() -> None:
    whole = Lora(adapter_dtype=AdapterDtype.WEIGHTS)
    packed = whole._replace(quantization=NF4, unquantized_dtype=UnquantizedDtype.FP16)
    for method, sharding, reason in (
        (whole, Fsdp1(), ""),
        (whole, Fsdp2(), ""),
        (packed, Fsdp1(), ""),
        (packed, Fsdp2(), ADAPTERS_IN_FP16),
    ):
        assert refused(FP16._replace(finetuning=method, sharding=sharding), on("H100", 2)) == reason


@pytest.mark.parametrize("method", [Full(), Freeze(), BitFit()], ids=lambda method: method.method)
def test_fp16_weights_are_for_frozen_ones(method: Method) -> None:
    strategy = PLAIN._replace(precision=Precision.FP16_TRUE, optimizer=Optimizer.ADAMW)
    assert refused(strategy._replace(finetuning=method)).startswith("fp16 weights cannot train")
    assert refused(strategy._replace(finetuning=Lora())) == ""


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"finetuning": Lora()}, "fp8-mixed is for whole weights"),
        ({"finetuning": Freeze()}, "fp8-mixed is not derived for layers whose weights are frozen"),
        ({"finetuning": BitFit()}, "fp8-mixed is not derived for layers whose weights are frozen"),
        ({"sharding": Fsdp2()}, "fp8-mixed is not derived for FSDP2"),
        ({"sharding": Replicated(Sharding.ZERO1)}, ""),
    ],
    ids=lambda x: " ".join(map(str, x)) if isinstance(x, dict) else "",
)
def test_fp8_is_for_whole_weights_that_are_not_sharded(change: dict[str, Any], reason: str) -> None:
    found = refused(PLAIN._replace(precision=Precision.FP8_MIXED, **change), on("H100", 2))
    assert reason in found
    assert bool(found) == bool(reason)
    assert refused(BF16._replace(**change), on("H100", 2)) == ""
