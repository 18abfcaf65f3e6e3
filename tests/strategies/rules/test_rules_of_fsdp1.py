"""What cannot run with FSDP1, each reason once, and what is next to it and can."""

from __future__ import annotations

from typing import Any

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    BitFit,
    Checkpointing,
    Checkpoints,
    Freeze,
    Fsdp1,
    Fsdp2,
    GradientSync,
    Kernels,
    Lora,
    LoraVariant,
    Offload,
    Optimizer,
    Precision,
    Quantization,
    Sharding,
    Strategy,
    TrainedModules,
    UnquantizedDtype,
    Update,
    violation,
)

H100S = Cluster(load_catalog().get("H100-80GB-SXM"), 8)
BF16 = PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=Optimizer.ADAMW, sharding=Fsdp1())
NF4 = Lora(quantization=Quantization.NF4, unquantized_dtype=UnquantizedDtype.BF16)
REENTRANT = Checkpointing.FULL_REENTRANT


def refused(**choices: Any) -> str:
    """The reason, or nothing."""
    return violation(BF16._replace(**choices), H100S) or ""


REFUSED: dict[str, dict[str, Any]] = {
    "loses the gradients of earlier micro-batches": {
        "sharding": Fsdp1(offload=Offload.CPU, gradient_sync=GradientSync.EACH)
    },
    "along with the optimizer": {"sharding": Fsdp1(offload=Offload.OPTIMIZER)},
    "views of a flat one": {"update": Update.IN_BACKWARD},
    "compiled blocks": {"kernels": Kernels.COMPILE},
    "fp8-mixed is not derived": {"precision": Precision.FP8_MIXED},
    "checkpoint_every 1": {"checkpointing": Checkpoints(REENTRANT, 2)},
    "int8 weights cannot be sharded": {"finetuning": Lora(quantization=Quantization.INT8)},
    "bitfit is not derived": {"finetuning": BitFit()},
    "trains as a whole or not at all": {"finetuning": Freeze(2, TrainedModules.HEAD)},
    "has to be in half precision": {"finetuning": NF4._replace(unquantized_dtype=UnquantizedDtype.FP32)},
    "DoRA multiplies": {"finetuning": Lora(variant=LoraVariant.DORA)},
    "each is a unit of its own": {"finetuning": Lora(trained_modules=TrainedModules.EMBEDDINGS)},
    "Muon takes matrices": {"optimizer": Optimizer.MUON},
    "Adam-mini views gradients": {"optimizer": Optimizer.ADAM_MINI},
    "GaLore and APOLLO project": {"optimizer": Optimizer.GALORE},
}


@pytest.mark.parametrize(("reason", "choices"), REFUSED.items(), ids=REFUSED)
def test_what_flat_parameters_cannot_do_is_refused_with_its_reason(reason: str, choices: dict[str, Any]) -> None:
    assert reason in refused(**choices)


@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"sharding": Fsdp1(offload=Offload.CPU)},
        {"sharding": Fsdp1(Sharding.SHARD_GRAD_OP, gradient_sync=GradientSync.EACH)},
        {"sharding": Fsdp1(Sharding.HYBRID_SHARD, shard_size=4)},
        {"checkpointing": Checkpoints(REENTRANT)},
        {"finetuning": NF4},
        {"finetuning": Freeze(2)},
        {"finetuning": Lora()},
        {"optimizer": Optimizer.ADAMW_8BIT},
        {"optimizer": Optimizer.ADAFACTOR},
        {"optimizer": Optimizer.LION},
    ],
    ids=str,
)
def test_what_accelerate_runs_with_fsdp1_is_allowed(choices: dict[str, Any]) -> None:
    assert refused(**choices) == ""


def test_other_backends_run_what_fsdp1_cannot() -> None:
    strategy: Strategy = BF16._replace(sharding=Fsdp2(), finetuning=Lora(variant=LoraVariant.DORA))
    assert violation(strategy, H100S) is None


def test_one_gpu_has_nothing_to_divide_and_replicas_need_more_gpus_than_shards() -> None:
    assert violation(BF16, Cluster(H100S.gpu, 1)) == "one GPU has nothing to shard over"
    for size in (3, 8, 16):
        assert "a smaller number of shards that divides 8" in refused(sharding=Fsdp1(Sharding.HYBRID_SHARD, size))
