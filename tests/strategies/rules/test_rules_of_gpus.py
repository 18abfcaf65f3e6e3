"""What a number of GPUs cannot divide and what a GPU lacks is refused, and what is next to it accepted."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import (
    A100,
    AMD,
    BEFORE_AMPERE,
    BF16,
    EVERY,
    GAUDI,
    NVIDIA,
    TWO_A100S,
    gpus_that_run,
    of_generation,
    on,
    refused,
)

from strategies import (
    PLAIN,
    Allocator,
    Attention,
    Fsdp2,
    Kernels,
    Loss,
    Optimizer,
    Precision,
    Replicated,
    Sharding,
    indivisible,
)
from strategies.rules import exclusion


def test_one_gpu_has_nobody_to_shard_with() -> None:
    assert indivisible(Replicated(), 1) is None
    assert indivisible(Replicated(Sharding.ZERO1), 1) == "one GPU has nobody to divide its optimizer's states with"
    assert indivisible(Replicated(Sharding.ZERO1), 2) is None
    for choice in (Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD, Sharding.HYBRID_SHARD):
        assert indivisible(Fsdp2(choice), 1) == "one GPU has nothing to shard over"


@pytest.mark.parametrize("ranks", [8, 12])
def test_groups_are_smaller_than_the_ranks_and_divide_them(ranks: int) -> None:
    sizes = range(ranks + 2)
    hybrid = {n for n in sizes if indivisible(Fsdp2(Sharding.HYBRID_SHARD, shard_size=n), ranks) is None}
    resharded = {n for n in sizes if indivisible(Fsdp2(reshard_size=n), ranks) is None}
    divisors = {n for n in range(1, ranks) if ranks % n == 0}
    assert hybrid == divisors
    assert resharded == {0, *divisors}
    assert indivisible(Fsdp2(Sharding.SHARD_GRAD_OP), ranks) is None
    assert indivisible(Fsdp2(Sharding.HYBRID_SHARD, shard_size=5), ranks) == (
        f"{ranks} GPUs make replicas of a smaller number of shards that divides {ranks}"
    )


def test_what_ranks_cannot_divide_is_told_before_anything_else() -> None:
    wrong = BF16._replace(optimizer=Optimizer.ADAFACTOR, sharding=Fsdp2(reshard_size=3))
    assert refused(wrong, TWO_A100S).startswith("parameters of 2 shards are resharded")
    assert exclusion(wrong, TWO_A100S) == "transformers' Adafactor does not run on parameters that FSDP2 has sharded"
    assert exclusion(PLAIN, A100) is None


@pytest.mark.parametrize(
    ("precision", "lacking"),
    [
        (Precision.FP32, set()),
        (Precision.TF32, BEFORE_AMPERE | GAUDI | (AMD - of_generation("gfx942"))),
        (Precision.FP16_MIXED, set()),
        (Precision.BF16_MIXED, BEFORE_AMPERE),
        (Precision.BF16_TRUE, BEFORE_AMPERE),
        (Precision.FP8_MIXED, BEFORE_AMPERE | of_generation("8.0", "8.6", "gfx90")),
    ],
)
def test_a_precision_runs_where_the_gpu_has_its_dtypes(precision: Precision, lacking: set[str]) -> None:
    assert EVERY - gpus_that_run(precision=precision) == lacking


def test_a_missing_dtype_is_named() -> None:
    fp8 = PLAIN._replace(precision=Precision.FP8_MIXED)
    assert refused(BF16, on("T4")) == "T4 has no bf16"
    assert refused(fp8, on("T4")) == "T4 has no bf16"
    assert refused(fp8, on("A100-40GB-SXM")) == "A100-40GB-SXM has no fp8"
    assert refused(PLAIN._replace(precision=Precision.TF32), on("T4")) == "T4 has no tf32"


def test_flash_attention_runs_on_the_gpus_that_its_kernels_are_built_for() -> None:
    half = {"precision": Precision.FP16_MIXED}
    assert gpus_that_run(**half, attention=Attention.FLASH_2) == NVIDIA - BEFORE_AMPERE
    assert gpus_that_run(**half, attention=Attention.FLASH_3) == of_generation("9.0")
    for attention in (Attention.EAGER, Attention.SDPA, Attention.SDPA_EFFICIENT):
        assert gpus_that_run(**half, attention=attention) == EVERY
    assert refused(BF16._replace(attention=Attention.FLASH_3)) == (
        "flash-attention-3 has no CUDA kernels for A100-80GB-SXM"
    )


@pytest.mark.parametrize(
    ("precision", "runs"),
    [
        (Precision.FP32, False),
        (Precision.TF32, False),
        (Precision.FP16_MIXED, True),
        (Precision.BF16_MIXED, True),
        (Precision.BF16_TRUE, True),
    ],
)
def test_flash_attention_computes_in_half_precision_only(precision: Precision, runs: bool) -> None:
    reason = refused(PLAIN._replace(precision=precision, attention=Attention.FLASH_2))
    assert reason == ("" if runs else "flash-attention-2 computes in half precision only")


@pytest.mark.parametrize(
    "choices",
    [
        {"kernels": Kernels.LIGER},
        {"kernels": Kernels.COMPILE},
        {"loss": Loss.LIGER_CROSS_ENTROPY},
        {"loss": Loss.LIGER_FUSED_LINEAR},
        {"loss": Loss.FLASH_CROSS_ENTROPY},
        {"loss": Loss.COMPILED},
        {"loss": Loss.CUT_CROSS_ENTROPY},
        {"attention": Attention.FLEX},
    ],
    ids=lambda choices: next(iter(choices.values())),
)
def test_triton_is_needed_by_liger_flex_attention_and_compilation(choices: dict[str, Any]) -> None:
    reason = refused(PLAIN._replace(**choices), on("Gaudi2"))
    needs = "liger-kernel, flash-attn's loss, flex_attention, torch.compile and cut cross-entropy"
    assert reason == f"Gaudi2 has no Triton, which {needs} need"
    assert "no Triton" in refused(PLAIN._replace(**choices), on("P100"))
    assert "no Triton" not in refused(PLAIN._replace(**choices), on("V100"))
    assert "no Triton" not in refused(PLAIN._replace(**choices), on("MI300X"))


def test_what_needs_no_triton_runs_without_it() -> None:
    assert gpus_that_run(loss=Loss.CHUNKED) == gpus_that_run(loss=Loss.FULL) == EVERY


def test_expandable_segments_are_cudas_and_rocms() -> None:
    assert gpus_that_run(allocator=Allocator.EXPANDABLE) == NVIDIA | AMD
    reason = refused(PLAIN._replace(allocator=Allocator.EXPANDABLE), on("Gaudi2"))
    assert reason == "Gaudi2 has no expandable segments"
