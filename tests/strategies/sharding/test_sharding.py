"""Sharding: what each rank of a data-parallel group keeps, and over how many ranks."""

from __future__ import annotations

from typing import Any

import pytest

from strategies import (
    AXES,
    OPTIONS,
    ContradictionError,
    DataParallel,
    Fsdp2,
    GradientBuckets,
    GradientSync,
    Offload,
    Replicated,
    Sharding,
    ShardingBackend,
    WholeNumbers,
)
from strategies.sharding import ALL_RANKS

AXIS = AXES["sharding"]
FSDP2, LAST = {"sharding_backend": ShardingBackend.FSDP2}, {"gradient_sync": GradientSync.LAST}


@pytest.mark.parametrize("choice", [Sharding.NO_SHARD, Sharding.ZERO1])
def test_replicas_keep_the_whole_model_and_under_zero1_each_rank_its_part_of_the_states(choice: Sharding) -> None:
    replicated = Replicated(choice)
    assert (replicated.shards, replicated.on_host) == (False, False)
    assert replicated.divides_states == (choice is Sharding.ZERO1)
    assert [replicated.ranks(world_size) for world_size in (1, 2, 8)] == [1, 1, 1]


def test_shards_are_of_all_ranks_unless_groups_are_smaller() -> None:
    whole, groups = Fsdp2(), Fsdp2(Sharding.HYBRID_SHARD, shard_size=4)
    assert (whole.ranks(16), whole.replicas(16)) == (16, 1)
    assert (groups.ranks(16), groups.replicas(16)) == (4, 4)
    assert whole.shards
    assert not whole.divides_states


def test_parameters_stay_gathered_under_shard_grad_op_alone() -> None:
    assert {choice: Fsdp2(choice).reshards for choice in (*list(Sharding)[2:],)} == {
        Sharding.SHARD_GRAD_OP: False,
        Sharding.FULL_SHARD: True,
        Sharding.HYBRID_SHARD: True,
    }


def test_a_rank_keeps_its_share_on_the_gpu_unless_it_is_offloaded() -> None:
    assert {offload: Fsdp2(offload=offload).on_host for offload in Offload} == {
        Offload.NONE: False,
        Offload.CPU: True,
        Offload.OPTIMIZER: False,
    }


def test_the_defaults_are_those_of_trainer_and_of_fsdp2() -> None:
    assert Replicated() == Replicated(Sharding.NO_SHARD, GradientBuckets.COPIES)
    assert Fsdp2() == Fsdp2(Sharding.FULL_SHARD, ALL_RANKS, ALL_RANKS, Offload.NONE)
    assert ALL_RANKS == 0


def test_each_sharding_is_refined_by_options_of_its_own() -> None:
    assert {choice: [option.name for option in AXIS.refining(choice)] for choice in Sharding} == {
        Sharding.NO_SHARD: ["gradient_buckets"],
        Sharding.ZERO1: ["sharding_backend", "gradient_buckets", "offload", "reduce_bucket", "overlap_comm"],
        Sharding.SHARD_GRAD_OP: [
            "sharding_backend",
            "offload",
            "gradient_sync",
            "wrapping",
            "reduce_bucket",
            "overlap_comm",
        ],
        Sharding.FULL_SHARD: [
            "sharding_backend",
            "reshard_size",
            "offload",
            "gradient_sync",
            "wrapping",
            "reduce_bucket",
            "overlap_comm",
            "prefetch_bucket",
            "persistence_threshold",
            "max_live_parameters",
            "max_reuse_distance",
            "sub_group_size",
        ],
        Sharding.HYBRID_SHARD: ["sharding_backend", "shard_size", "offload", "gradient_sync", "wrapping"],
    }


def test_sizes_of_groups_are_whole_numbers_of_which_0_means_all_ranks() -> None:
    reshard, shard = OPTIONS["reshard_size"], OPTIONS["shard_size"]
    assert (reshard.kind, reshard.hidden_default) == (WholeNumbers(0, 65_536, 8), 0)
    assert (shard.kind, shard.hidden_default) == (WholeNumbers(2, 65_536, 8), None)
    assert OPTIONS["gradient_buckets"].hidden_default is GradientBuckets.COPIES
    assert OPTIONS["offload"].hidden_default is Offload.NONE


@pytest.mark.parametrize(
    ("options", "value"),
    [
        (
            {"sharding": Sharding.ZERO1, "gradient_buckets": GradientBuckets.VIEWS, "offload": Offload.NONE, **FSDP2},
            Replicated(Sharding.ZERO1, GradientBuckets.VIEWS),
        ),
        (
            {"sharding": Sharding.SHARD_GRAD_OP, "offload": Offload.CPU, **FSDP2, **LAST},
            Fsdp2(Sharding.SHARD_GRAD_OP, 0, 0, Offload.CPU),
        ),
        (
            {"sharding": Sharding.FULL_SHARD, "offload": Offload.NONE, "reshard_size": 4, **FSDP2, **LAST},
            Fsdp2(Sharding.FULL_SHARD, reshard_size=4),
        ),
        (
            {"sharding": Sharding.HYBRID_SHARD, "offload": Offload.NONE, "shard_size": 2, **FSDP2, **LAST},
            Fsdp2(Sharding.HYBRID_SHARD, shard_size=2),
        ),
    ],
    ids=lambda x: x["sharding"] if isinstance(x, dict) else "",
)
def test_options_make_a_sharding_and_a_sharding_says_its_options(options: dict[str, Any], value: DataParallel) -> None:
    made = AXIS.value(options)
    assert (made, type(made)) == (value, type(value))
    assert AXIS.to_options(value) == options


@pytest.mark.parametrize("choice", Sharding)
def test_what_is_left_open_is_the_default(choice: Sharding) -> None:
    made = AXIS.value({"sharding": choice})
    assert made == (Replicated(choice) if choice in (Sharding.NO_SHARD, Sharding.ZERO1) else Fsdp2(choice))


def test_a_backend_runs_no_sharding_that_it_lacks_on_any_number_of_ranks() -> None:
    value = AXIS.value({"sharding": Sharding.ZERO1, "sharding_backend": ShardingBackend.FSDP1})
    assert {value.indivisible(ranks) for ranks in (1, 2, 8)} == {"fsdp1 has no zero1"}
    assert AXIS.to_options(value) == {"sharding": Sharding.ZERO1, "sharding_backend": ShardingBackend.FSDP1}


def test_a_choice_that_nobody_says_the_ranks_of_is_refused() -> None:
    with pytest.raises(ContradictionError, match="nothing says who keeps what under sharding magic"):
        AXIS.value({"sharding": "magic"})


def test_names_of_options_are_those_of_their_axes() -> None:
    assert (GradientBuckets.axis_name(), Offload.axis_name(), Sharding.axis_name()) == (
        "gradient_buckets",
        "offload",
        "sharding",
    )
