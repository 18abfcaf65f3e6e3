"""An optimizer takes what it is made for, and an update in backward needs each gradient alone."""

from __future__ import annotations

from typing import Any

import pytest
from refusals import BF16, CATALOG, TWO_A100S, on, refused

from strategies import (
    PLAIN,
    BitFit,
    Freeze,
    Fsdp2,
    Full,
    Lora,
    Method,
    Optimizer,
    Precision,
    Replicated,
    Sharding,
    Update,
)

UNSHARDED = {
    Optimizer.ADAFACTOR: "transformers' Adafactor does not run on parameters that FSDP2 has sharded",
    Optimizer.ADAMW_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.PAGED_ADAMW_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.PAGED_ADAMW_32BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.LION: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.LION_8BIT: "bitsandbytes' optimizers do not run on parameters that FSDP2 has sharded",
    Optimizer.GALORE: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.APOLLO: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.APOLLO_MINI: "GaLore and APOLLO do not project gradients that FSDP2 has sharded",
    Optimizer.ADAMW_OFFLOAD: "torchao's CPUOffloadOptimizer is for one GPU",
    Optimizer.ADAMW_FP32_MASTER: "adamw-fp32-master does not take parameters that FSDP2 has sharded: bf16-mixed keeps "
    "fp32 weights there",
}


@pytest.mark.parametrize("sharding", [Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
@pytest.mark.parametrize("optimizer", Optimizer)
def test_an_optimizer_takes_shards_or_says_why_not(optimizer: Optimizer, sharding: Sharding) -> None:
    half = BF16._replace(precision=Precision.BF16_TRUE, optimizer=optimizer)
    assert refused(half._replace(sharding=Fsdp2(sharding)), TWO_A100S) == UNSHARDED.get(optimizer, "")
    whole = UNSHARDED[optimizer] if optimizer is Optimizer.ADAMW_OFFLOAD else ""
    assert refused(half, TWO_A100S) == whole
    assert refused(half) == ""


@pytest.mark.parametrize("optimizer", Optimizer)
def test_an_optimizer_of_bitsandbytes_runs_where_bitsandbytes_does(optimizer: Optimizer) -> None:
    strategy = PLAIN._replace(precision=Precision.BF16_TRUE, optimizer=optimizer)
    of_bitsandbytes = optimizer in UNSHARDED and UNSHARDED[optimizer].startswith("bitsandbytes")
    reason = f"bitsandbytes does not run on {CATALOG.get('MI100').name}" if of_bitsandbytes else ""
    assert refused(strategy, on("MI100")) == reason


COPIES = "weights that train are fp32 already: adamw-fp32-master keeps copies of weights in half precision"


@pytest.mark.parametrize(
    ("precision", "method", "reason"),
    [
        (Precision.BF16_TRUE, Full(), ""),
        (Precision.BF16_TRUE, Freeze(), ""),
        (Precision.BF16_TRUE, BitFit(), ""),
        (Precision.BF16_TRUE, Lora(), COPIES),
        (Precision.FP16_TRUE, Lora(), COPIES),
        (Precision.BF16_MIXED, Full(), COPIES),
        (Precision.FP32, Full(), COPIES),
    ],
)
def test_master_copies_are_for_whole_weights_in_half_precision(
    precision: Precision, method: Method, reason: str
) -> None:
    strategy = PLAIN._replace(precision=precision, finetuning=method)
    assert refused(strategy._replace(optimizer=Optimizer.ADAMW_FP32_MASTER)) == reason
    assert refused(strategy._replace(optimizer=Optimizer.ADAMW)) == ""


@pytest.mark.parametrize("optimizer", [Optimizer.GALORE, Optimizer.APOLLO_MINI, Optimizer.ADAM_MINI])
def test_projections_and_rows_are_of_whole_weights(optimizer: Optimizer) -> None:
    strategy = BF16._replace(optimizer=optimizer)
    assert [refused(strategy._replace(finetuning=method)) for method in (Full(), Freeze(), Lora(), BitFit())] == [
        "",
        "",
        f"{optimizer} is made for whole weights, not for adapters",
        f"{optimizer} is made for whole weights, not for biases",
    ]


@pytest.mark.parametrize(
    ("change", "gpus", "reason"),
    [
        ({}, 1, ""),
        ({}, 2, "an update in backward would not wait for DDP to reduce the gradient"),
        ({"sharding": Replicated(Sharding.ZERO1)}, 2, "an update in backward would not wait for DDP"),
        ({"sharding": Fsdp2()}, 2, ""),
        ({"precision": Precision.FP16_MIXED}, 1, "GradScaler decides on all gradients at once"),
        ({"precision": Precision.FP16_MIXED, "finetuning": Lora()}, 1, "GradScaler decides on all gradients at once"),
        ({"precision": Precision.FP16_TRUE, "finetuning": Lora()}, 1, ""),
        ({"precision": Precision.BF16_TRUE}, 1, ""),
        ({"optimizer": Optimizer.ADAMW_OFFLOAD}, 1, "CPUOffloadOptimizer has hooks of its own"),
        ({"optimizer": Optimizer.ADAFACTOR}, 1, ""),
    ],
    ids=lambda x: " ".join(map(str, x.values())) if isinstance(x, dict) else str(x)[:20],
)
def test_updates_in_backward_need_each_gradient_alone(change: dict[str, Any], gpus: int, reason: str) -> None:
    strategy = BF16._replace(**change)
    found = refused(strategy._replace(update=Update.IN_BACKWARD), on("A100-80GB-SXM", gpus))
    assert reason in found
    assert bool(found) == bool(reason)
    assert refused(strategy, on("A100-80GB-SXM", gpus)) == ""
