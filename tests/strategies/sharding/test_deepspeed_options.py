"""What DeepSpeed's options mean, and what cannot run with it."""

from __future__ import annotations

from typing import Any

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    Fsdp2,
    Kernels,
    Lora,
    Offload,
    Optimizer,
    OverlapComm,
    Precision,
    Quantization,
    Replicated,
    Sharding,
    ShardingBackend,
    Update,
    Zero,
    violation,
)
from strategies.sharding.axis import AXIS

EIGHT = Cluster(load_catalog().get("H100-80GB-SXM"), 8)
ZERO = PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=Optimizer.ADAMW, sharding=Zero())


def refused(ranks: int = 8, **choices: Any) -> str:
    """The reason why a full fine-tuning with ZeRO-3 cannot run with these choices, or nothing."""
    return violation(ZERO._replace(**choices), Cluster(EIGHT.gpu, ranks)) or ""


@pytest.mark.parametrize("choice", [Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_a_stage_says_the_options_that_make_it(choice: Sharding) -> None:
    value = Zero(choice, Offload.OPTIMIZER, reduce_bucket=10, overlap_comm=OverlapComm.NO)
    options = AXIS.to_options(value)
    assert options["sharding_backend"] is ShardingBackend.DEEPSPEED
    assert AXIS.value(options) == value
    assert ("prefetch_bucket" in options) is (choice is Sharding.FULL_SHARD)


def test_stages_are_deepspeeds_numbers() -> None:
    stages = (Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD)
    assert [Zero(choice).stage for choice in stages] == [1, 2, 3]
    assert [Zero(choice).shards for choice in stages] == [False, False, True]


def test_deepspeed_has_no_plain_replica_and_no_hybrid() -> None:
    value = AXIS.value({"sharding": Sharding.HYBRID_SHARD, "sharding_backend": ShardingBackend.DEEPSPEED})
    assert value.indivisible(8) == "deepspeed has no hybrid_shard"


def test_only_what_overlaps_before_stage_3_has_a_second_bucket() -> None:
    assert Zero(Sharding.SHARD_GRAD_OP, overlap_comm=OverlapComm.YES).buckets == 2
    assert Zero(Sharding.SHARD_GRAD_OP).buckets == 1
    assert Zero(Sharding.FULL_SHARD, overlap_comm=OverlapComm.YES).buckets == 1


def test_what_an_offload_moves_to_the_host() -> None:
    found = [(z.on_host, z.steps_on_host) for z in (Zero(offload=offload) for offload in Offload)]
    assert dict(zip(Offload, found, strict=True)) == {
        Offload.NONE: (False, False),
        Offload.CPU: (True, True),
        Offload.OPTIMIZER: (False, True),
    }


@pytest.mark.parametrize("offload", Offload)
@pytest.mark.parametrize("stage", [Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_one_gpu_runs_deepspeed(stage: Sharding, offload: Offload) -> None:
    of_weights = offload is Offload.CPU and stage is not Sharding.FULL_SHARD  # that only stage 3 has
    assert bool(refused(1, sharding=Zero(stage, offload))) is of_weights


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"sharding": Zero(Sharding.SHARD_GRAD_OP, Offload.CPU)}, "offloads parameters in full_shard (ZeRO-3) alone"),
        ({"precision": Precision.FP16_TRUE, "finetuning": Lora(8)}, "fp16 keeps fp32 copies of the weights"),
        ({"kernels": Kernels.COMPILE, "sharding": Zero()}, "hooks end torch.compile's graph at every module"),
        (
            {"finetuning": Lora(8, "all-linear", Quantization.INT8), "sharding": Zero()},
            "int8 weights cannot be divided by ZeRO-3",
        ),
        ({"optimizer": Optimizer.ADAMW_FP32_MASTER}, "keeps fp32 copies of the weights itself"),
        ({"update": Update.IN_BACKWARD}, "an update in backward finds none"),
        (
            {"sharding": Zero(offload=Offload.OPTIMIZER), "optimizer": Optimizer.LION},
            "DeepSpeed's optimizer on the host is an AdamW: lion has no such counterpart",
        ),
        (
            {"sharding": Zero(offload=Offload.OPTIMIZER), "precision": Precision.BF16_TRUE},
            "keeps fp32 states, which bf16-true has none of",
        ),
        ({"optimizer": Optimizer.ADAMW_8BIT_TORCHAO}, "torchao's optimizers are not derived"),
        ({"optimizer": Optimizer.ADAMW_OFFLOAD}, "CPUOffloadOptimizer has hooks on parameters"),
        ({"optimizer": Optimizer.MUON}, "Muon needs matrices"),
        ({"optimizer": Optimizer.GALORE}, "GaLore and APOLLO need matrices"),
        ({"optimizer": Optimizer.ADAM_MINI}, "Adam-mini needs rows and heads"),
    ],
    ids=lambda x: "" if isinstance(x, str) else " ".join(map(str, x)),
)
def test_what_cannot_run_with_deepspeed_has_a_reason(choices: dict[str, Any], reason: str) -> None:
    assert reason in refused(**choices)


def test_what_runs_with_deepspeed_is_not_refused() -> None:
    for optimizer in (
        Optimizer.ADAMW,
        Optimizer.ADAMW_FOREACH,
        Optimizer.ADAMW_8BIT,
        Optimizer.ADAFACTOR,
        Optimizer.LION,
    ):
        assert not refused(optimizer=optimizer)
    assert not refused(finetuning=Lora(8, "all-linear"), precision=Precision.BF16_TRUE)
    assert not refused(sharding=Zero(offload=Offload.OPTIMIZER), optimizer=Optimizer.ADAMW_FOREACH)


def test_other_backends_offload_no_optimizer_alone() -> None:
    offloaded = Replicated(Sharding.ZERO1, offload=Offload.OPTIMIZER)
    assert "ZeroRedundancyOptimizer offloads nothing" in refused(sharding=offloaded)
    assert "FSDP2 offloads parameters along with the optimizer" in refused(sharding=Fsdp2(offload=Offload.OPTIMIZER))
