"""FSDP1: what a rank stores of flat parameters, and what is beside each part while a step runs."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.linear.quantized import KINDS
from planner.memory.sharding.account import TrainedTensor, Trains, Unit
from planner.memory.sharding.backends import backend_of
from planner.memory.sharding.flat import FlatAccount, first_shares, padded
from planner.memory.sharding.fsdp1 import Fsdp1Layout
from planner.memory.sharding.layout import Ends, Extra, MicroBatch, Turn
from strategies import Fsdp1, GradientSync, Offload, Optimizer, Quantization, Sharding


def tensor(elements: int, itemsize: int = 4, computed: int = 4, *, is_embedding: bool = False) -> TrainedTensor:
    return TrainedTensor((elements,), elements, itemsize, is_embedding, computed, "weight")


# --- flat parameters ---


def test_parameters_begin_at_multiples_of_16_bytes_and_ranks_have_equal_shares() -> None:
    assert padded([], 4, 8) == 0
    assert padded([3, 5], 4, 1) == 4 + 5  # 16 bytes are 4 elements of fp32
    assert padded([3, 5], 2, 1) == 8 + 5  # and 8 of bf16
    assert padded([3, 5], 4, 8) == 16


def test_a_unit_that_trains_has_one_flat_parameter_and_one_flat_gradient() -> None:
    account = FlatAccount(2, is_block=True)
    account.train(Trains("weight", (100, 30), 4, 2))
    account.train(Trains("bias", (30,), 4, 2))
    unit = account.unit()
    # 3,000 elements, a multiple of 8, and 30: each rank has 1,515, stored in fp32 and gathered in bf16
    assert (unit.stored_bytes, unit.gathered_bytes, unit.cast_bytes) == (6_144, 6_060, 3_030)
    assert (unit.gradient_bytes, unit.gathered_gradient_bytes, unit.whole_gradient_bytes) == (6_144, 6_060, 6_144)
    assert [(t.num_elements, t.is_hidden) for t in unit.trained] == [(3_000, True), (30, False)]


def test_a_share_that_is_stored_as_it_is_computed_needs_no_copy() -> None:
    account = FlatAccount(4, is_block=True)
    account.keep((100,), 2, 2)
    assert account.unit() == Unit(512, (), 200, 0, 0, 0, 0, 0, shares=(50,), joined=(200,))


def test_modules_that_peft_adds_are_units_of_their_own_beside_a_frozen_one() -> None:
    account = FlatAccount(2, is_block=True)
    account.keep((1_000,), 2, 2)
    account.train(Trains("lora_A", (8, 100), 4, 2, apart=True))
    unit = account.unit()
    assert unit.gathered_bytes == 2_000  # the base's alone
    assert (unit.stored_bytes, unit.gradient_bytes, unit.gathered_gradient_bytes) == (1_024 + 2_048, 2_048, 0)
    assert unit.whole_gradient_bytes == 2_048


def test_packed_weights_are_joined_and_their_scales_stay_whole() -> None:
    account = FlatAccount(2, is_block=True)
    kind = KINDS[Quantization.NF4]
    assert kind.flat_bytes is not None
    packed, scales = kind.flat_bytes(64, 128)
    assert sum(packed) == 64 * 128 // 2
    account.quantize((64, 128), kind, 2)
    unit = account.unit()
    assert unit == Unit(2_048 + scales, (), 4_096, 0, 0, 0, scales, 0, shares=(2_048,), joined=(4_096,))


def test_the_first_rank_has_whole_parameters_and_a_part_of_one() -> None:
    tensors = [tensor(96), tensor(64), tensor(32)]
    assert [t.shape for t in first_shares(tensors, 2)] == [(96,)]
    assert [t.shape for t in first_shares(tensors, 1)] == [(96,), (64,), (32,)]
    # its share of 101 elements less the 52 at which the second begins
    assert [t.shape for t in first_shares([tensor(50), tensor(150)], 2)] == [(50,), (49,)]
    assert first_shares([], 8) == []


def test_the_optimizer_steps_the_first_ranks_part_of_the_root_and_of_each_block() -> None:
    stem, head = (Unit(0, (tensor(1_000),), 4_000, 2_000, 4_000) for _ in range(2))
    block, loss = Unit(0, (tensor(100), tensor(300)), 1_600, 800, 1_600), Unit(0, (), 0, 0, 0)
    partition = backend_of(Fsdp1()).partition(
        [stem, block, block, head, loss], Optimizer.SGD_MOMENTUM, Fsdp1(), 2, apart=False, itemsize=4
    )
    # of the root 1,000 of 2,000 elements, of each block 200 of 400: 100 and 100
    assert partition.states == 4_096 + 2 * (512 + 512)


# --- around each part ---


def unit(gathered: int, gradient: int, views: int, cast: int = 0) -> Unit:
    """One that trains, on two ranks: `gradient` is of a rank, and the whole one twice as large."""
    return Unit(gathered, (tensor(gathered // 4),), gathered, gradient, views, 2 * gradient, 0, cast)


STEM, BLOCK, HEAD, LOSS = unit(100, 8, 90), unit(40, 4, 36), unit(60, 2, 50), Unit(0, (), 0, 0, 0)
UNITS = [STEM, BLOCK, BLOCK, HEAD, LOSS]
ROOT = 100 + 60
PLACES = range(5)
FULL, EACH = Fsdp1(), GradientSync.EACH


def layout(sharding: Fsdp1 = FULL, turn: Turn = Turn.ONLY, units: list[Unit] = UNITS, **ends: Any) -> Fsdp1Layout:
    return Fsdp1Layout(units, sharding, 2, Ends(**ends), MicroBatch(turn))


def test_the_root_stays_gathered_beside_the_block_that_runs() -> None:
    found = layout()
    assert [found.forward(i) for i in PLACES] == [
        Extra(ROOT),
        Extra(ROOT + 40),
        Extra(ROOT + 40),
        Extra(ROOT),
        Extra(ROOT),
    ]


def test_backward_gathers_the_block_before_from_the_loss_on() -> None:
    found = layout()
    assert [found.backward(i).communication for i in PLACES] == [0, 0, 40, 40, 40]
    assert [found.before_prefetch(i).communication for i in PLACES] == [0] * 5
    # the head's gradient of 50 bytes waits for the stem's, with which it shares a flat one
    assert [found.backward(i).gradients for i in PLACES] == [4 + 4 + 50, 4 + 50, 50, 0, 0]


def test_within_a_reentrant_checkpoint_no_unit_is_gathered_ahead() -> None:
    found = Fsdp1Layout(UNITS, FULL, 2, Ends(), MicroBatch(recomputes_units=True))
    assert [found.backward(i).communication for i in PLACES] == [0] * 5


def test_adapters_of_the_head_come_before_the_last_block() -> None:
    adapted = Unit(60, (tensor(10),), 60, 2, 0, 4)
    found = layout(units=[Unit(100, (), 100, 0, 0), BLOCK, BLOCK, adapted, LOSS])
    assert [found.backward(i).communication for i in PLACES] == [0, 0, 40, 40, 0]


def test_a_share_is_cast_before_it_is_gathered() -> None:
    halves = [unit(100, 8, 90, 50), unit(40, 4, 36, 20), unit(60, 2, 50, 30), LOSS]
    found = layout(units=halves)
    assert [found.gather(i).communication for i in range(3)] == [80, 20, 0]  # the head belongs to the root
    assert [found.prefetch(i).communication for i in range(4)] == [0, 0, 40 + 20, 40 + 20]


def test_after_its_backward_a_units_gradients_are_joined_reduced_and_cast() -> None:
    found = layout()
    joined = Extra(ROOT + 40, 40 + 40, 50 + 36)
    assert found.reduce(2) == joined
    assert found.reduce(0) == Extra(ROOT, ROOT, 4 + 4 + 90 + 50)
    assert found.reduce(3) == found.backward(3)
    cast = [STEM, BLOCK, unit(40, 80, 36, 20), HEAD, LOSS]  # a share in the stored dtype that is larger than the views
    assert layout(units=cast).reduce(2) == Extra(ROOT, 40 + 40 + 20 + 80, 50)


def test_with_shard_grad_op_blocks_stay_gathered_from_forward_to_backward() -> None:
    found = layout(Fsdp1(Sharding.SHARD_GRAD_OP))
    assert [found.forward(i).unsharded for i in PLACES] == [ROOT, ROOT + 40, ROOT + 80, ROOT + 80, ROOT + 80]
    assert [found.backward(i).communication for i in PLACES] == [0] * 5


def test_whole_gradients_accumulate_until_the_last_micro_batch_reduces_them() -> None:
    whole, shares = 2 * (8 + 4 + 4 + 2), 8 + 4 + 4 + 2
    assert [layout(turn=turn).forward(0).gradients for turn in (Turn.FIRST, Turn.LATER, Turn.LAST)] == [0, whole, whole]
    last = layout(turn=Turn.LAST)
    assert [last.backward(i).gradients for i in (1, 2)] == [whole - 4 + 50, whole + 50]
    each = layout(Fsdp1(gradient_sync=EACH), Turn.LATER)
    assert each.forward(0).gradients == shares
    assert each.at_step == last.at_step == shares


def test_units_without_resharding_stay_gathered_while_gradients_accumulate() -> None:
    kept = Fsdp1(Sharding.SHARD_GRAD_OP)
    assert [layout(kept, turn).forward(1).unsharded for turn in (Turn.FIRST, Turn.LATER)] == [ROOT + 40, ROOT + 80]
    assert [layout(kept, turn).backward(1).unsharded for turn in (Turn.FIRST, Turn.LAST)] == [ROOT + 80, ROOT + 40]


def test_a_tied_gradient_of_the_head_waits_for_the_embeddings() -> None:
    tied = [Unit(100, (tensor(1_000, is_embedding=True),), 100, 8, 90, 16), BLOCK, BLOCK, HEAD, LOSS]
    found = layout(units=tied, tied=True)
    assert [found.backward(i).gradients for i in (2, 3)] == [50 + 4_096, 0]


def test_on_the_host_shares_are_copied_to_the_gpu_even_of_units_that_are_gathered() -> None:
    halves = [unit(100, 8, 90, 50), unit(40, 4, 36, 20), unit(60, 2, 50, 30), LOSS]
    full = layout(Fsdp1(offload=Offload.CPU), units=halves)
    assert full.at_step == 0
    assert [full.gather(i).communication for i in range(3)] == [80, 20, 0]
    # first the root's share in both dtypes, then the block's in one of them, beside what it is gathered to
    assert full.prefetch(3).communication == max((100 + 50) + (60 + 30), 40 + 20)
    assert full.prefetch(2).communication == 40 + 20
    kept = layout(Fsdp1(Sharding.SHARD_GRAD_OP, offload=Offload.CPU), units=halves)
    assert [kept.prefetch(i).communication for i in range(4)] == [0, 0, 40 + 20, 240]


def test_gradients_of_adapters_are_reduced_at_once() -> None:
    adapters = Unit(40, (tensor(10, computed=2),), 40, 4, 0, 8)
    found = layout(units=[Unit(100, (), 100, 0, 0), adapters, Unit(60, (), 60, 0, 0), LOSS])
    assert found.own(1, 20) == 4  # of the 20 bytes that backward makes, a rank keeps its 4
    assert layout().own(1, 36) == 36
    assert found.reduce(1) == found.backward(1)


@pytest.mark.parametrize(("sharding", "ranks"), [(Fsdp1(), 8), (Fsdp1(Sharding.HYBRID_SHARD, shard_size=2), 2)])
def test_a_model_is_divided_over_all_ranks_or_those_of_a_group(sharding: Fsdp1, ranks: int) -> None:
    assert Fsdp1Layout(UNITS, sharding, 8, Ends()).ranks == ranks
