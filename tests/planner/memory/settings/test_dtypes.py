"""Each tensor has the dtype that Trainer, accelerate and PEFT give it, in the computation and between steps."""

from __future__ import annotations

import pytest

from planner.memory.settings.dtypes import FP32, HALF, Dtypes
from strategies import (
    AdapterDtype,
    BitFit,
    DataParallel,
    Freeze,
    Fsdp1,
    Fsdp2,
    Full,
    Lora,
    Method,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    TrainedModules,
)

DDP, ZERO1, FSDP = Replicated(), Replicated(Sharding.ZERO1), Fsdp2()
NF4, GPTQ, AWQ = (Lora(quantization=q) for q in (Quantization.NF4, Quantization.GPTQ, Quantization.AWQ))
IN_WEIGHTS = Lora(adapter_dtype=AdapterDtype.WEIGHTS)
Four = tuple[int, int, int, int]
"""Bytes of linear weights, others, adapters, and what trains beside frozen parameters."""


@pytest.mark.parametrize(
    ("precision", "method", "stored"),
    [
        (Precision.FP32, Full(), (4, 4, 4, 4)),
        (Precision.TF32, Full(), (4, 4, 4, 4)),
        (Precision.BF16_MIXED, Full(), (4, 4, 4, 4)),
        (Precision.FP16_MIXED, Full(), (4, 4, 4, 4)),
        (Precision.BF16_TRUE, Full(), (2, 2, 2, 2)),
        (Precision.FP8_MIXED, Full(), (4, 4, 4, 4)),
        # what is frozen nobody needs in fp32
        (Precision.FP32, Freeze(), (4, 4, 4, 4)),
        (Precision.BF16_MIXED, Freeze(), (2, 2, 2, 4)),
        (Precision.BF16_TRUE, Freeze(), (2, 2, 2, 2)),
        (Precision.BF16_MIXED, BitFit(), (2, 2, 2, 4)),
        (Precision.BF16_TRUE, BitFit(), (2, 2, 2, 2)),
        # adapters in fp32 unless told otherwise
        (Precision.FP32, Lora(), (4, 4, 4, 4)),
        (Precision.BF16_MIXED, Lora(), (2, 2, 4, 2)),
        (Precision.BF16_MIXED, IN_WEIGHTS, (2, 2, 2, 2)),
        (Precision.BF16_TRUE, Lora(), (2, 2, 4, 2)),
        (Precision.BF16_TRUE, IN_WEIGHTS, (2, 2, 2, 2)),
        (Precision.FP16_TRUE, Lora(), (2, 2, 4, 2)),
        (Precision.BF16_MIXED, Lora(trained_modules=TrainedModules.HEAD), (2, 2, 4, 2)),
        # all that is not quantized in fp32, but for GPTQ
        (Precision.FP32, NF4, (4, 4, 4, 4)),
        (Precision.BF16_MIXED, NF4, (2, 4, 4, 4)),
        (Precision.BF16_TRUE, NF4, (2, 4, 4, 4)),
        (Precision.FP16_TRUE, NF4, (2, 4, 4, 4)),
        (Precision.BF16_MIXED, AWQ, (2, 4, 4, 4)),
        (Precision.BF16_MIXED, GPTQ, (2, 2, 4, 2)),
        (Precision.BF16_TRUE, GPTQ, (2, 2, 4, 2)),
        (Precision.FP32, GPTQ, (4, 4, 4, 4)),
    ],
)
def test_replicas_compute_with_weights_as_they_are_stored(precision: Precision, method: Method, stored: Four) -> None:
    dtypes = Dtypes.of(precision, method, DDP)
    assert dtypes == Dtypes.of(precision, method, ZERO1)
    assert (dtypes.stored_linear, dtypes.stored_other, dtypes.stored_adapter, dtypes.stored_trained) == stored
    assert (dtypes.linear, dtypes.other, dtypes.adapter, dtypes.trained) == stored
    assert dtypes.autocast == precision.facts.autocast_bytes
    assert not dtypes.casts_inputs


@pytest.mark.parametrize(
    ("precision", "method", "stored"),
    [
        (Precision.BF16_MIXED, Full(), (4, 4, 4, 4)),
        (Precision.FP16_MIXED, Full(), (4, 4, 4, 4)),
        (Precision.BF16_MIXED, Lora(), (2, 2, 4, 4)),
        (Precision.BF16_MIXED, Freeze(), (2, 2, 2, 4)),
        (Precision.BF16_MIXED, BitFit(), (2, 2, 2, 4)),
    ],
)
def test_shards_in_mixed_precision_are_gathered_in_half_and_computed_without_autocast(
    precision: Precision, method: Method, stored: Four
) -> None:
    dtypes = Dtypes.of(precision, method, FSDP)
    assert (dtypes.linear, dtypes.other, dtypes.adapter, dtypes.trained) == (2, 2, 2, 2)
    assert (dtypes.stored_linear, dtypes.stored_other, dtypes.stored_adapter, dtypes.stored_trained) == stored
    assert (dtypes.autocast, dtypes.casts_inputs, dtypes.fp8) == (None, True, False)


@pytest.mark.parametrize("adapter_dtype", AdapterDtype)
def test_flat_parameters_of_adapters_are_raised_to_fp32_under_mixed_precision(adapter_dtype: AdapterDtype) -> None:
    method = Lora(adapter_dtype=adapter_dtype)
    mixed = Dtypes.of(Precision.BF16_MIXED, method, Fsdp1())
    assert (mixed.linear, mixed.adapter, mixed.stored_linear, mixed.stored_adapter) == (2, 2, 2, 4)
    assert (mixed.autocast, mixed.casts_inputs, mixed.adapters_apart) == (2, False, True)
    alike = Dtypes.of(Precision.BF16_TRUE, method, DDP)
    assert Dtypes.of(Precision.BF16_TRUE, method, Fsdp1()) == alike._replace(adapters_apart=True)


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.TF32, Precision.BF16_TRUE])
@pytest.mark.parametrize("method", [Full(), Lora(), Freeze(), BitFit()], ids=lambda method: method.method)
def test_shards_in_one_precision_are_gathered_as_they_are_stored(precision: Precision, method: Method) -> None:
    assert Dtypes.of(precision, method, FSDP) == Dtypes.of(precision, method, DDP)


@pytest.mark.parametrize(
    ("precision", "method", "sharding", "kept", "stored_kept"),
    [
        # `_keep_in_fp32_modules` counts for fp16 weights and for quantized bases
        (Precision.FP16_MIXED, Full(), DDP, 4, 4),
        (Precision.FP16_MIXED, Lora(), DDP, 4, 4),
        (Precision.FP16_TRUE, Lora(), DDP, 4, 4),
        (Precision.FP16_MIXED, Lora(), FSDP, 2, 4),
        (Precision.BF16_MIXED, Full(), DDP, 4, 4),
        (Precision.BF16_MIXED, Full(), FSDP, 2, 4),
        (Precision.BF16_MIXED, Lora(), DDP, 2, 2),
        (Precision.BF16_MIXED, Lora(), FSDP, 2, 2),
        (Precision.BF16_TRUE, Full(), DDP, 2, 2),
        (Precision.BF16_TRUE, Full(), FSDP, 2, 2),
        (Precision.BF16_MIXED, Freeze(), DDP, 2, 2),
        (Precision.BF16_TRUE, NF4, DDP, 4, 4),
        (Precision.BF16_MIXED, AWQ, DDP, 4, 4),
        (Precision.BF16_TRUE, GPTQ, DDP, 2, 2),
        (Precision.FP16_MIXED, GPTQ, DDP, 4, 4),
    ],
)
def test_layers_that_transformers_keeps_in_fp32_are_so_beside_fp16_and_over_quantized_bases(
    precision: Precision, method: Method, sharding: DataParallel, kept: int, stored_kept: int
) -> None:
    dtypes = Dtypes.of(precision, method, sharding)
    assert (dtypes.kept, dtypes.stored_kept) == (kept, stored_kept)


def test_half_is_fp16_where_products_are() -> None:
    fp16 = {precision for precision in Precision if Dtypes.of(precision, Lora(), DDP).half_is_fp16}
    assert fp16 == {Precision.FP16_MIXED, Precision.FP16_TRUE}
    assert Dtypes.of(Precision.FP16_MIXED, Full(), FSDP).half_is_fp16


def test_only_fp8_mixed_multiplies_in_fp8() -> None:
    assert {p for p in Precision if Dtypes.of(p, Full(), DDP).fp8} == {Precision.FP8_MIXED}


def test_weights_that_always_stay_in_fp32_are_gathered_in_half_alone() -> None:
    assert Dtypes.of(Precision.BF16_TRUE, Full(), DDP).kept_in_fp32 == FP32
    assert Dtypes.of(Precision.BF16_MIXED, Full(), DDP).kept_in_fp32 == FP32
    assert Dtypes.of(Precision.BF16_MIXED, Full(), FSDP).kept_in_fp32 == HALF
    assert Dtypes.of(Precision.BF16_MIXED, Lora(), FSDP).kept_in_fp32 == FP32  # stored in half, too


def test_a_part_that_trains_as_a_whole_is_in_the_trained_dtype() -> None:
    dtypes = Dtypes.of(Precision.BF16_MIXED, Freeze(), DDP)
    trained = dtypes.of_trained()
    assert trained == dtypes._replace(linear=4, other=4, stored_linear=4, stored_other=4)
    sharded = Dtypes.of(Precision.BF16_MIXED, Freeze(), FSDP).of_trained()
    assert (sharded.linear, sharded.other, sharded.stored_linear, sharded.stored_other) == (2, 2, 4, 4)


def test_linear_layers_are_kept_in_fp32_and_multiply_in_their_own_dtype_unless_said() -> None:
    dtypes = Dtypes(2, 2, 2, 2, None, False, 2, 2, 2, 2)
    assert (dtypes.kept, dtypes.stored_kept, dtypes.fp8, dtypes.casts_inputs) == (4, 4, False, False)
    assert (FP32, HALF) == (4, 2)
