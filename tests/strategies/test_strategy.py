"""Which combinations of choices can run on which cluster."""

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    Checkpointing,
    Checkpoints,
    DataParallel,
    Fsdp2,
    Optimizer,
    Precision,
    Replicated,
    Sharding,
    Space,
    Strategy,
    violation,
)

TWO_GPUS = Cluster(load_catalog().get("A100-80GB-SXM"), 2)
REPLICAS = "2 GPUs make replicas of a smaller number of shards that divides 2"
RESHARDED = "parameters of 2 shards are resharded to a smaller number that divides 2"


def strategy(optimizer: Optimizer, sharding: DataParallel) -> Strategy:
    return PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=optimizer, sharding=sharding)


@pytest.mark.parametrize("sharding", [Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_adafactor_does_not_run_on_sharded_parameters(sharding: Sharding) -> None:
    reason = "transformers' Adafactor does not run on parameters that FSDP2 has sharded"
    assert violation(strategy(Optimizer.ADAFACTOR, Fsdp2(sharding)), TWO_GPUS) == reason
    assert violation(strategy(Optimizer.ADAMW, Fsdp2(sharding)), TWO_GPUS) is None


def test_adafactor_runs_where_parameters_are_whole() -> None:
    assert violation(strategy(Optimizer.ADAFACTOR, Replicated()), TWO_GPUS) is None


@pytest.mark.parametrize(
    ("sharding", "reason"),
    [
        (Fsdp2(Sharding.HYBRID_SHARD, shard_size=2), REPLICAS),
        (Fsdp2(Sharding.HYBRID_SHARD, shard_size=3), REPLICAS),
        (Fsdp2(Sharding.FULL_SHARD, reshard_size=2), RESHARDED),
        (Fsdp2(Sharding.FULL_SHARD), None),
        (Replicated(Sharding.ZERO1), None),
    ],
)
def test_groups_of_ranks_have_to_divide_them(sharding: DataParallel, reason: str | None) -> None:
    assert violation(strategy(Optimizer.ADAMW, sharding), TWO_GPUS) == reason


def test_one_gpu_divides_no_states() -> None:
    reason = violation(strategy(Optimizer.ADAMW, Replicated(Sharding.ZERO1)), Cluster(TWO_GPUS.gpu))
    assert reason == "one GPU has nobody to divide its optimizer's states with"


def test_replicas_are_searched_where_there_are_several_nodes() -> None:
    gpu = TWO_GPUS.gpu
    assert Sharding.HYBRID_SHARD not in Space.default(Cluster(gpu, 8)).sharding
    several = Space.default(Cluster(gpu, 8, 2))
    assert Sharding.HYBRID_SHARD in several.sharding
    assert several.shard_size == (8,)


def test_a_checkpointed_block_is_the_first_of_so_many() -> None:
    checkpoints = Checkpoints(Checkpointing.FULL, every=3)
    assert [checkpoints.cover(block) for block in range(5)] == [True, False, False, True, False]
    assert not Checkpoints(Checkpointing.NONE).cover(0)
