"""Which combinations of choices can run on which cluster."""

import pytest

from hardware import Cluster, load_catalog
from strategies import (
    PLAIN,
    DataParallel,
    Optimizer,
    Precision,
    Replicated,
    Sharded,
    Sharding,
    Strategy,
)

TWO_GPUS = Cluster(load_catalog().get("A100-80GB-SXM"), 2)


def strategy(optimizer: Optimizer, sharding: DataParallel) -> Strategy:
    return PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=optimizer, sharding=sharding)


@pytest.mark.parametrize("sharding", [Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_adafactor_does_not_run_on_sharded_parameters(sharding: Sharding) -> None:
    obstacle = "transformers' Adafactor does not run on parameters that FSDP2 has sharded"
    assert strategy(Optimizer.ADAFACTOR, Sharded(sharding)).obstacle(TWO_GPUS) == obstacle
    assert strategy(Optimizer.ADAMW, Sharded(sharding)).obstacle(TWO_GPUS) is None


def test_adafactor_runs_where_parameters_are_whole() -> None:
    assert strategy(Optimizer.ADAFACTOR, Replicated()).obstacle(TWO_GPUS) is None
