"""Which optimizers run in which strategy, and what refines them."""

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    AXES,
    PLAIN,
    Fsdp2,
    Full,
    Lora,
    Optimizer,
    Precision,
    Quantization,
    Ranked,
    Strategy,
    Update,
    violation,
)

GPUS = load_catalog()
ONE, TWO = (Cluster(GPUS.get("A100-80GB-SXM"), ranks) for ranks in (1, 2))
H100, TWO_H100 = (Cluster(GPUS.get("H100-80GB-SXM"), ranks) for ranks in (1, 2))
BF16 = PLAIN._replace(precision=Precision.BF16_TRUE, optimizer=Optimizer.ADAMW)
SHARDED = BF16._replace(sharding=Fsdp2())


@pytest.mark.parametrize(
    ("strategy", "cluster", "reason"),
    [
        (SHARDED._replace(optimizer=Optimizer.GALORE), TWO, "GaLore and APOLLO do not project"),
        (SHARDED._replace(optimizer=Optimizer.LION_8BIT), TWO, "bitsandbytes' optimizers do not run on parameters"),
        (SHARDED._replace(optimizer=Optimizer.ADAMW_FP32_MASTER), TWO, "does not take parameters that FSDP2"),
        (BF16._replace(optimizer=Optimizer.ADAMW_OFFLOAD), TWO, "is for one GPU"),
        (BF16._replace(optimizer=Ranked(Optimizer.APOLLO, 8), finetuning=Lora()), ONE, "not for adapters"),
        (BF16._replace(optimizer=Optimizer.ADAM_MINI, finetuning=Lora()), ONE, "not for adapters"),
        (PLAIN._replace(optimizer=Optimizer.ADAMW_FP32_MASTER), ONE, "fp32 already"),
        (BF16._replace(update=Update.IN_BACKWARD), TWO, "would not wait for DDP"),
        (BF16._replace(update=Update.IN_BACKWARD, precision=Precision.FP16_MIXED), ONE, "GradScaler"),
        (BF16._replace(update=Update.IN_BACKWARD, optimizer=Optimizer.ADAMW_OFFLOAD), ONE, "hooks of its own"),
        (BF16._replace(precision=Precision.FP16_TRUE), ONE, "GradScaler does not unscale"),
        (BF16._replace(precision=Precision.FP8_MIXED), ONE, "has no fp8"),
        (BF16._replace(precision=Precision.FP8_MIXED, finetuning=Lora()), H100, "adapters' layers"),
        (SHARDED._replace(precision=Precision.FP8_MIXED), TWO_H100, "gathers weights in fp8"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_what_cannot_run_says_why(strategy: Strategy, cluster: Cluster, reason: str) -> None:
    assert reason in (violation(strategy, cluster) or "")


@pytest.mark.parametrize(
    ("strategy", "cluster"),
    [
        (SHARDED._replace(optimizer=Optimizer.MUON), TWO),
        (SHARDED._replace(optimizer=Optimizer.ADAMW_4BIT), TWO),
        (SHARDED._replace(update=Update.IN_BACKWARD), TWO),
        (BF16._replace(optimizer=Optimizer.ADAMW_FP32_MASTER), TWO),
        (BF16._replace(optimizer=Optimizer.MUON, finetuning=Lora()), ONE),
        (BF16._replace(precision=Precision.FP16_TRUE, finetuning=Lora(quantization=Quantization.NF4)), ONE),
        (BF16._replace(precision=Precision.FP8_MIXED), TWO_H100),
    ],
    ids=lambda x: "",
)
def test_what_runs_violates_no_rule(strategy: Strategy, cluster: Cluster) -> None:
    assert violation(strategy, cluster) is None


def test_a_rank_refines_low_rank_optimizers_alone() -> None:
    axis, said = AXES["optimizer"], {"optimizer_rank": 64}
    assert axis.value({**said, "optimizer": Optimizer.GALORE}) == Ranked(Optimizer.GALORE, 64)
    assert axis.value({**said, "optimizer": Optimizer.ADAMW}) is Optimizer.ADAMW
    assert axis.to_options(Ranked(Optimizer.GALORE, 64)) == {"optimizer": Optimizer.GALORE, "optimizer_rank": 64}


def test_full_fine_tuning_in_fp8_needs_hardware_for_it() -> None:
    strategy = PLAIN._replace(precision=Precision.FP8_MIXED, finetuning=Full())
    supporting = [gpu.name for gpu in GPUS if violation(strategy, Cluster(gpu, 1)) is None]
    assert "H100-80GB-SXM" in supporting
    assert "A100-80GB-SXM" not in supporting
