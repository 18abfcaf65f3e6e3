"""What sharding and replication have beside each part: gathered parameters, buffers, gradients of other parts."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.sharding.account import TrainedTensor, Unit
from planner.memory.sharding.backends import backend_of
from planner.memory.sharding.fsdp2.layout import Fsdp2Layout
from planner.memory.sharding.layout import Ends, Extra, MicroBatch, Turn
from planner.memory.sharding.optimizers import rule_of
from planner.memory.sharding.partition import Partition
from planner.memory.sharding.replicated import bucketed, replication_buffers
from strategies import DataParallel, Fsdp2, GradientBuckets, GradientSync, Offload, Optimizer, Replicated, Sharding


def tensor(elements: int, itemsize: int = 4, computed: int = 4, is_embedding: bool = False) -> TrainedTensor:
    return TrainedTensor((elements,), elements, itemsize, is_embedding, computed, "weight")


def unit(gathered: int, gradient: int, *trained: TrainedTensor) -> Unit:
    """`gradient`: of a rank; the whole ones are twice as large."""
    return Unit(gathered // 2, trained, gathered, gradient, 2 * gradient)


STEM, BLOCK, HEAD, LOSS = unit(100, 8), unit(40, 4), unit(60, 2), unit(0, 0)
UNITS = [STEM, BLOCK, BLOCK, HEAD, LOSS]
EACH = GradientSync.EACH
DDP, FULL = Replicated(), Fsdp2(gradient_sync=EACH)
GRADIENTS = Fsdp2(Sharding.SHARD_GRAD_OP, gradient_sync=EACH)
PLACES = range(5)


def made(units: list[Unit], sharding: DataParallel, ranks: int, **options: Any) -> Any:
    """The layout of a micro-batch: the only one of its step, or a later one if `gradients_exist`."""
    turn = Turn.LATER if options.pop("gradients_exist", False) else options.pop("turn", Turn.ONLY)
    updates = options.pop("updates", None)
    return backend_of(sharding).layout(units, sharding, ranks, Ends(**options), MicroBatch(turn, updates))


def layout(sharding: DataParallel, ranks: int = 2, **options: Any) -> Any:
    return made(UNITS, sharding, ranks, **options)


def test_nothing_is_there_unless_it_is_said() -> None:
    assert Extra() == Extra(unsharded=0, communication=0, gradients=0)


# --- replicas ---


def test_replicas_have_no_more_than_gradients() -> None:
    found = layout(DDP)
    assert [found.forward(i) for i in PLACES] == [Extra()] * 5
    # of the parts behind each
    assert [found.backward(i) for i in PLACES] == [Extra(gradients=n) for n in (10, 6, 2, 0, 0)]
    assert (found.all_gradients, found.at_step, found.left(2), found.grows) == (18, 18, 0, True)


def test_of_accumulated_steps_all_gradients_are_there_throughout() -> None:
    found = layout(DDP, gradients_exist=True)
    assert [found.forward(i) for i in PLACES] == [found.backward(i) for i in PLACES] == [Extra(gradients=18)] * 5
    assert (found.at_step, found.grows) == (18, False)


@pytest.mark.parametrize(("ranks", "in_buckets"), [(1, False), (2, True)])
def test_gradients_that_are_views_of_ddps_buckets_are_nowhere_else(ranks: int, in_buckets: bool) -> None:
    found = layout(Replicated(gradient_buckets=GradientBuckets.VIEWS), ranks)
    assert found.in_buckets == in_buckets
    assert found.grows != in_buckets
    assert found.at_step == (0 if in_buckets else 18)
    assert [found.backward(i).gradients for i in PLACES] == ([0] * 5 if in_buckets else [10, 6, 2, 0, 0])


def test_ddp_has_buckets_as_large_as_the_gradients_where_there_are_other_ranks() -> None:
    assert bucketed(DDP, 1) is None
    assert bucketed(DDP, 2) is GradientBuckets.COPIES
    assert bucketed(FULL, 2) is None
    assert [replication_buffers(UNITS, sharding, 2) for sharding in (DDP, Replicated(Sharding.ZERO1), FULL)] == [
        18,
        18,
        0,
    ]
    assert replication_buffers(UNITS, DDP, 1) == 0


def test_an_update_in_backward_leaves_no_gradients() -> None:
    found = layout(DDP, 1, updates=Optimizer.ADAMW)
    assert [found.backward(i) for i in PLACES] == [Extra()] * 5
    assert (found.all_gradients, found.at_step) == (0, 0)


# --- shards ---


def test_in_forward_a_part_and_its_buffer_are_gathered() -> None:
    found = layout(FULL)
    assert [found.forward(i) for i in PLACES] == [
        Extra(100, 100),
        Extra(40, 40),
        Extra(40, 40),
        Extra(60, 60),
        Extra(60, 60),  # the head stays for the loss
    ]
    # when it has been copied out, the buffer before is still there
    assert [found.gather(i) for i in range(4)] == [Extra(100, 100), Extra(40, 140), Extra(40, 80), Extra(60, 100)]


def test_what_is_not_resharded_stays_gathered_from_forward_to_backward() -> None:
    found = layout(GRADIENTS)
    assert [found.forward(i).unsharded for i in PLACES] == [100, 140, 180, 240, 240]
    assert [found.backward(i).unsharded for i in PLACES] == [100, 140, 180, 240, 240]
    assert [found.backward(i).communication for i in PLACES] == [8, 8, 4, 0, 0]  # what is scattered, nothing ahead
    assert [found.reduce(i).unsharded for i in range(4)] == [0, 100, 140, 180]
    assert found.left(3) == 0


def test_in_backward_the_part_before_is_gathered_ahead_and_the_one_behind_is_scattered() -> None:
    found = layout(FULL)
    assert [found.backward(i) for i in PLACES] == [
        Extra(100, 0 + 8, 10),
        Extra(40, 100 + 8, 6),
        Extra(40, 40 + 4, 2),
        Extra(60, 40 + 0, 0),
        Extra(60, 0, 0),
    ]
    copied = Extra(100, 100 + 8, 10)  # out of its buffer, which is freed before its backward runs
    assert [found.prefetch(i) for i in PLACES] == [copied, *(found.backward(i) for i in PLACES[1:])]


def test_after_its_backward_a_part_is_reduced() -> None:
    # the unsharded gradients, twice as large as a shard, beside the input of the collective of as many bytes
    assert [layout(FULL).reduce(i) for i in range(4)] == [
        Extra(0, 0 + 16, 10 + 16),
        Extra(0, 100 + 8, 6 + 8),
        Extra(0, 40 + 8, 2 + 8),
        Extra(0, 40 + 4, 0 + 4),
    ]


def test_what_is_resharded_over_fewer_ranks_leaves_a_shard_from_forward() -> None:
    found = layout(Fsdp2(reshard_size=4), 8)
    assert [found.forward(i).unsharded for i in PLACES] == [100, 40 + 25, 40 + 35, 60 + 45, 60 + 45]
    assert [found.backward(i).unsharded for i in PLACES] == [100, 65, 75, 105, 105]
    assert found.prefetch(2)[:2] == (75 + 10, 40 + 4)  # copied out while its own shard is alive
    assert [found.reduce(i).unsharded for i in range(4)] == [0, 25, 35, 45]
    assert [found.left(n) for n in range(4)] == [0, 25, 35, 45]  # of parts whose backward never runs
    assert layout(FULL).left(3) == 0


def test_the_roots_head_stays_gathered_and_prefetches_the_last_block() -> None:
    found = layout(FULL, rooted=True)
    assert [found.forward(i).unsharded for i in PLACES] == [160, 100, 100, 60, 60]
    assert [found.backward(i).unsharded for i in PLACES] == [160, 100, 100, 60, 60]
    assert [found.reduce(i).unsharded for i in range(4)] == [0, 60, 60, 0]
    assert found.backward(4).communication == 40


def test_shards_that_are_cast_are_copied_in_order_to_gather_a_unit_ahead() -> None:
    units = [u._replace(cast_bytes=u.gathered_bytes // 4) for u in UNITS]
    found = made(units, Fsdp2(gradient_sync=EACH), 4)
    assert found.prefetch(3) == Extra(60, 40 + 10, 0)
    assert found.prefetch(1) == Extra(40, 100 + 25 + 8, 6)
    # what forward left is already in the dtype of the computation, and copied even so
    assert made(units, Fsdp2(gradient_sync=EACH, reshard_size=2), 4).prefetch(3).communication == 40 + 20


def test_of_accumulated_steps_shards_of_all_gradients_are_there() -> None:
    found = layout(FULL, gradients_exist=True)
    assert found.grows
    assert [found.forward(i).gradients for i in PLACES] == [18] * 5
    assert [found.reduce(i).gradients for i in range(4)] == [18 + 16, 18 + 8, 18 + 8, 18 + 4]


def test_on_the_host_are_gradients_and_what_is_gathered_comes_by_shards() -> None:
    found = layout(Fsdp2(offload=Offload.CPU))
    assert (found.all_gradients, found.at_step) == (0, 0)
    ahead = [found.prefetch(i).communication - found.backward(i).communication for i in PLACES]
    assert ahead == [100, 50, 20, 20, 0]  # the stem's is copied out of its buffer


def test_replicas_of_shards_keep_reduced_gradients_where_they_are_tensors_of_their_own() -> None:
    hybrid = Fsdp2(Sharding.HYBRID_SHARD, shard_size=2, gradient_sync=EACH)
    alone, exist = layout(hybrid, 4), layout(hybrid, 4, gradients_exist=True)
    assert [alone.backward(i).communication for i in range(4)] == [8, 108, 44, 40]
    # of the parts behind, a share of 8 + 8 + 4 bytes
    assert [exist.backward(i).communication for i in range(4)] == [8 + 10, 108 + 6, 44 + 2, 40]
    assert [exist.reduce(i).communication for i in range(4)] == [16 + 10, 108 + 6, 48 + 2, 44]
    on_host = layout(hybrid._replace(offload=Offload.CPU), 4)
    assert on_host.backward(0).communication == 18
    assert layout(hybrid, 2, gradients_exist=True).backward(0).communication == 8  # no replicas


# --- tied embeddings ---

TABLE = tensor(1_000, is_embedding=True)
TIED = [unit(100, 8, TABLE, tensor(64)), BLOCK, BLOCK, unit(60, 2, tensor(2)), LOSS]


def tied(sharding: DataParallel, ranks: int = 2, **options: Any) -> Any:
    return made(TIED, sharding, ranks, tied=True, **options)


def test_a_tied_gradient_of_the_head_waits_for_the_embeddings() -> None:
    waiting = 4_096  # 4,000 bytes, rounded up
    found = tied(DDP, 1)
    assert [found.backward(i).gradients for i in PLACES] == [10 + waiting, 6 + waiting, 2 + waiting, 0, 0]
    early = tied(DDP, 1, waits_from=2)
    assert [early.backward(i).gradients for i in PLACES] == [10 + waiting, 6 + waiting, 2, 0, 0]
    exist = tied(DDP, 1, gradients_exist=True)
    assert [exist.backward(i).gradients for i in PLACES] == [18 + waiting] * 3 + [18] * 2


def test_a_frozen_embedding_has_no_gradient_that_waits() -> None:
    frozen = made([STEM, BLOCK, HEAD, LOSS], DDP, 1, tied=True)
    assert [frozen.backward(i).gradients for i in range(4)] == [6, 2, 0, 0]


def test_a_tied_embedding_is_gathered_with_the_head_from_the_first_moment_on() -> None:
    found = tied(FULL)
    assert [found.forward(i).unsharded for i in PLACES] == [160, 40 + 160, 40 + 160, 160, 160]
    # the buffer is the head's, a block's own, and then the last block's
    assert [found.forward(i).communication for i in PLACES] == [160, 40, 40, 40, 40]
    assert [found.gather(i).communication for i in PLACES] == [160, 200, 80, 40, 40]
    assert [found.backward(i).unsharded for i in PLACES] == [160, 200, 200, 160, 160]
    assert [found.backward(i).communication for i in PLACES] == [8, 8, 44, 40, 0]


def test_when_the_stem_is_reduced_the_gradient_that_waited_has_been_added() -> None:
    found = tied(FULL)
    # whole gradients of 16 bytes; 4,096 of the unit's last tensor, which a variable still refers to, and a share of 8
    assert found.reduce(0).gradients == 10 + 4_096 + 8
    assert found.reduce(1).gradients == 6 + 4_096 + 8


@pytest.mark.parametrize(("rooted", "of_others"), [(False, 4 + 2), (True, 4)])
def test_a_tied_units_last_tensor_is_the_embedding_or_else_the_heads_bias(rooted: bool, of_others: int) -> None:
    def reduced(stem: Unit, head: Unit) -> int:
        found = made([stem, BLOCK, head, LOSS], FULL, 2, tied=True, rooted=rooted)
        return int(found.reduce(0).gradients) - of_others

    embedding, norm, bias = unit(100, 8, TABLE, tensor(64)), tensor(2), tensor(1_000, computed=2)
    assert reduced(embedding, unit(60, 2, norm)) == 4_096 + 8
    assert reduced(embedding, unit(60, 2, norm, bias)) == 2_048 + 8
    assert reduced(unit(100, 0), unit(60, 2, norm)) == 512


# --- while gradients are reduced ---


@pytest.mark.parametrize(
    ("sharding", "ranks", "updates", "gradients"),
    [
        # whole 8,000; then 4,096 of the last tensor, a share of 4,000 and its copy in fp32 of 8,000
        (FULL, 2, None, 4_096 + 4_000 + 8_000),
        (Fsdp2(Sharding.HYBRID_SHARD, shard_size=2, gradient_sync=EACH), 4, None, 4_096 + 4_000 + 8_000),
        # AdamW's step allocates nothing, and its foreach a copy of a rank's states: 16,384 bytes of 2 or of 4 ranks
        (FULL, 2, Optimizer.ADAMW, 4_096 + 4_000 + 8_000),
        (FULL, 2, Optimizer.ADAMW_FOREACH, 4_096 + 8_000 + 4_096),
        (
            Fsdp2(Sharding.HYBRID_SHARD, shard_size=2, gradient_sync=EACH),
            4,
            Optimizer.ADAMW_FOREACH,
            4_096 + 8_000 + 4_000 + 4_096,
        ),
        (Fsdp2(offload=Offload.CPU), 2, Optimizer.ADAMW_FOREACH, 4_096 + 4_000 + 8_000),
    ],
)
def test_a_share_is_cast_where_it_is_stored_in_another_dtype_and_then_updated(
    sharding: Fsdp2, ranks: int, updates: Optimizer | None, gradients: int
) -> None:
    halves = tensor(2_000, 4, 2), tensor(2_000, 4, 2)
    cast = Unit(0, halves, 0, 8_000, 8_000)
    found = Fsdp2Layout([LOSS, cast, LOSS, LOSS], sharding, ranks, Ends(), MicroBatch(updates=updates))
    assert found.reduce(1).gradients == gradients


def test_a_share_that_is_not_cast_is_the_gradient() -> None:
    same = Unit(0, (tensor(1_000), tensor(1_000)), 0, 4_000, 8_000)
    found = Fsdp2Layout([LOSS, same, LOSS, LOSS], FULL, 2, Ends())
    assert found.reduce(1).gradients == max(8_000, 4_096 + 4_000)
    last_small = Unit(0, (tensor(1_990), tensor(10)), 0, 4_000, 8_000)
    assert Fsdp2Layout([LOSS, last_small, LOSS, LOSS], FULL, 2, Ends()).reduce(1).gradients == 8_000


def test_a_root_that_owns_embedding_and_head_reduces_both_at_once() -> None:
    stem = Unit(0, (tensor(1_024, 4, 2, is_embedding=True),), 0, 2_048, 2_048, 2_048)
    head = Unit(0, (tensor(256, 4, 2), tensor(2_048, 4, 2)), 0, 4_608, 4_608, 4_608)
    ends = Ends(tied=True, rooted=True, joined=True)
    reduced = Fsdp2Layout([stem, LOSS, head, LOSS], FULL, 2, ends).reduce(0)
    assert reduced.communication == 2_048 + 4_608
    # the head's last whole gradient, a share of both and its copy in fp32
    assert reduced.gradients == 4_096 + (2_048 + 4_608) // 2 + 2_048 + 4_608


def test_a_root_without_the_embedding_has_what_the_stem_has_beside_it() -> None:
    embedding = Unit(0, (tensor(1_024),), 4_096, 2_048, 4_096, 4_096)
    root = Unit(0, (tensor(256), tensor(512)), 3_072, 1_536, 3_072, 3_072)
    stem = Unit(0, (tensor(256), tensor(1_024)), 5_120, 2_560, 5_120, 5_120, regrouped=(embedding, root))
    head = Unit(0, (tensor(512),), 2_048, 1_024, 2_048, 2_048)
    found = Fsdp2Layout([stem, BLOCK, head, LOSS], FULL, 2, Ends(rooted=True))
    assert [found.forward(i).unsharded for i in range(4)] == [3_072 + 4_096, 3_072 + 40, 3_072, 3_072]
    assert found.backward(1).gradients == 2_048  # the head's alone wait, until the stem's backward makes the others
    # the root is reduced first: the embedding is gathered and its gradient whole, beside a block's share of 4
    assert found.reduce(0) == Extra(4_096, 3_072, 4 + 4_096 + 2_048 + 1_536)
    tied = Fsdp2Layout([stem, BLOCK, head, LOSS], FULL, 2, Ends(rooted=True, tied=True))
    assert [tied.forward(i).unsharded for i in range(4)] == [5_120 + 2_048, 5_120 + 2_048 + 40, *[5_120 + 2_048] * 2]


# --- states of each rank ---


def test_zero1_gives_each_tensor_to_the_rank_with_the_fewest_elements() -> None:
    sizes = (7_000, 5_000, 4_000, 3_000, 1_000)
    units = [Unit(0, tuple(map(tensor, sizes)), 0, 0, 0)]
    partition = Partition(units, Optimizer.SGD_MOMENTUM, Replicated(Sharding.ZERO1), 2, apart=False)
    held = [sorted(t.num_elements for tensors, _ in groups for t in tensors) for groups in partition.groups]
    assert held == [[3_000, 7_000], [1_000, 4_000, 5_000]]
    assert partition.states == max(28_160 + 12_288, 20_480 + 16_384 + 4_096)


def test_equal_parts_are_computed_once_and_counted() -> None:
    block = Unit(0, (tensor(1_000),), 0, 0, 0)
    partition = Partition([block] * 5, Optimizer.SGD_MOMENTUM, DDP, 4, apart=False)
    assert partition.groups == [[((tensor(1_000),), 5)]]
    assert partition.states == 5 * 4_096
    sharded = Partition([block] * 5, Optimizer.SGD_MOMENTUM, FULL, 4, apart=False)
    assert sharded.states == 5 * 1_024


def test_temporaries_are_on_top_of_the_states_of_the_fullest_rank() -> None:
    units = [Unit(0, (tensor(10_000), tensor(1_000), tensor(900)), 0, 0, 0)]
    foreach = Partition(units, Optimizer.ADAMW_FOREACH, Replicated(Sharding.ZERO1), 2, apart=False)
    assert foreach.states == 2 * 40_448  # the largest tensor alone
    assert foreach.temporaries == 40_448
    assert Partition(units, Optimizer.ADAMW, DDP, 2, apart=False).temporaries == 0


def test_the_rank_that_moves_most_decides_what_moves() -> None:
    units = [Unit(0, (tensor(10_000), tensor(5_000)), 0, 0, 0)]
    offloaded = Partition(units, Optimizer.ADAMW_OFFLOAD, Replicated(Sharding.ZERO1), 2, apart=False)
    assert offloaded.moved == (2 * 40_000, 0)
    assert rule_of(Optimizer.ADAMW_OFFLOAD).moved([(units[0].trained, 1)], 1) == (2 * 60_000, 0)


def test_optimizers_of_single_tensors_have_a_table_each() -> None:
    units = [Unit(0, (tensor(10_000), tensor(5_000)), 0, 0, 0)]
    together, apart = (Partition(units, Optimizer.LION_8BIT, DDP, 1, apart=apart).states for apart in (False, True))
    assert apart - together == 1_024
