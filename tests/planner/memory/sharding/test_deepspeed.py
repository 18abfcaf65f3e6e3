"""What the memory model knows of DeepSpeed's ZeRO: flat shares, buckets, what is gathered and what the host keeps."""

from __future__ import annotations

import pytest

import planner
from hardware import Cluster, load_catalog
from planner.libraries.allocator import allocated
from planner.libraries.deepspeed import filled_in, largest_ranks, partition_size, pieces
from planner.memory.linear.nf4 import flat_bytes
from planner.memory.model import MemoryModel
from planner.memory.sharding.account import Parameter, Unit
from planner.memory.sharding.deepspeed.coordinator import Coordinator
from planner.memory.sharding.deepspeed.flat import Flat, small_weights
from planner.memory.sharding.deepspeed.offloaded import accumulation_buffer, laid_out, norms, sent_share
from planner.memory.sharding.deepspeed.order import Module, Order
from planner.memory.sharding.deepspeed.run import Alive
from planner.memory.step.step import Moment
from planner.memory.step.traced_model import TracedModel
from planner.models import Inventory
from strategies import (
    PLAIN,
    Lora,
    Offload,
    Optimizer,
    OverlapComm,
    Precision,
    Quantization,
    Sharding,
    Strategy,
    Zero,
)

HALF, FP32 = 2, 4
INVENTORY = Inventory(planner.find_model("smollm2-135m").architecture)


def model(gpus: int) -> MemoryModel:
    return MemoryModel(TracedModel(INVENTORY, 512), Cluster(load_catalog().get("H100-80GB-SXM"), gpus))


def strategy(choice: Sharding, **zero: object) -> Strategy:
    mixed = PLAIN._replace(precision=Precision.BF16_MIXED, optimizer=Optimizer.ADAMW)
    return mixed._replace(sharding=Zero(choice, **zero))  # type: ignore[arg-type]  # fields of several types


def flat(*sizes: int, ranks: int = 2) -> Flat:
    """Matrices of these sizes, each the weight of a module of its own, that train in bf16."""
    parameters = tuple(Parameter.of(f"m{i}.weight", (size,), HALF, trains=True) for i, size in enumerate(sizes))
    return Flat([Unit(0, (), 0, 0, 0, 0, parameters=parameters)], ranks)


def test_transformers_fills_in_auto_from_the_hidden_size() -> None:
    filled = filled_in(Zero(), 100)
    assert (filled.reduce_bucket, filled.prefetch_bucket, filled.persistence_threshold) == (10_000, 9_000, 1_000)
    assert filled_in(Zero(reduce_bucket=7), 100).reduce_bucket == 7


def test_a_share_is_copied_on_the_gpu_before_it_goes_to_the_host_as_masters() -> None:
    whole, share = 3_000_000 * HALF, 1_500_000 * HALF
    assert laid_out(flat(1_000_000, 2_000_000)) == allocated(whole) + allocated(share)


def test_on_one_gpu_with_its_optimizer_on_the_host_weights_are_there_twice_before_the_first_step() -> None:
    offloads = strategy(Sharding.SHARD_GRAD_OP, offload=Offload.OPTIMIZER)
    footprint = model(1).footprint(offloads, 1).loaded_within(10**12)
    weights = INVENTORY.num_parameters * HALF
    assert footprint.moments(1)[Moment.LOADING] == pytest.approx(2 * weights + 2 * 32 * 2**20, rel=1e-3)
    for stays in (strategy(Sharding.SHARD_GRAD_OP), strategy(Sharding.FULL_SHARD, offload=Offload.OPTIMIZER)):
        assert Moment.LOADING not in model(2).footprint(stays, 1).loaded_within(10**12).moments(1)


@pytest.mark.parametrize("choice", [Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_nccl_has_buffers_of_deepspeeds_group_beside_trainers(choice: Sharding) -> None:
    one = model(8).footprint(PLAIN, 1).outside
    divided = strategy(choice)
    outside = model(8).footprint(divided, 1).outside
    assert outside == one._replace(communicator_bytes=2 * one.communicator_bytes)
    least = model(8).least_process_bytes(divided, 1)
    assert outside.communicator_bytes < least <= model(8).footprint(divided, 1).process_bytes(1)


def test_a_share_of_a_flat_tensor_is_padded_to_two_elements_a_rank() -> None:
    assert [partition_size([10], ranks) for ranks in (1, 2, 3, 8)] == [10, 6, 4, 2]
    assert [(p.number, p.elements) for p in pieces([5, 5, 5], 2, 1)] == [(1, 2), (2, 5)]


def test_the_rank_whose_share_touches_the_largest_parameters_is_followed_beside_the_last() -> None:
    assert largest_ranks([[1, 1, 100, 100]], 4) == [1, 3]


def coordinator_of(flat: Flat, sharding: Zero, alive: Alive, modules: list[Module]) -> Coordinator:
    return Coordinator(flat, sharding, alive, Order(flat, modules, {}))


def test_one_parameter_is_gathered_by_itself_and_several_into_a_buffer() -> None:
    order = [(0, "m0"), (0, "m1"), (0, "m2")]
    found = flat(1000, 2000, 3000)
    sharding = filled_in(Zero(prefetch_bucket=5000, persistence_threshold=1), 10)
    alive = Alive()
    coordinator = coordinator_of(found, sharding, alive, order)
    list(coordinator.enter(order[0]))
    assert alive.unsharded == allocated(1000 * HALF)
    assert alive.communication == allocated(5000 * HALF)  # the next two, ahead
    coordinator.leave(order[0])
    assert alive.unsharded == 0
    list(coordinator.enter(order[1]))
    assert alive.unsharded == allocated(2000 * HALF) + allocated(3000 * HALF)


def test_nothing_is_gathered_ahead_beyond_the_live_parameters() -> None:
    order = [(0, "m0"), (0, "m1")]
    alive = Alive()
    sharding = filled_in(Zero(persistence_threshold=1, max_live_parameters=1000, prefetch_bucket=5000), 10)
    list(coordinator_of(flat(1000, 2000), sharding, alive, order).enter(order[0]))
    assert (alive.unsharded, alive.communication) == (allocated(1000 * HALF), 0)


def test_small_parameters_stay_gathered() -> None:
    found = flat(10, 4000)
    sharding = filled_in(Zero(persistence_threshold=10), 10)
    assert small_weights(found, sharding) == allocated(10 * HALF)
    alive = Alive()
    list(coordinator_of(found, sharding, alive, [(0, "m0")]).enter((0, "m0")))
    assert alive.unsharded == 0


def test_one_rank_gathers_nothing_but_what_is_on_the_host() -> None:
    for offload, held in ((Offload.OPTIMIZER, 0), (Offload.CPU, allocated(4000 * HALF))):
        alive = Alive()
        sharding = filled_in(Zero(offload=offload, persistence_threshold=1), 10)
        list(coordinator_of(flat(4000, ranks=1), sharding, alive, [(0, "m0")]).enter((0, "m0")))
        assert alive.unsharded == held


def test_shares_are_copied_to_the_gpu_to_be_gathered_from_the_host() -> None:
    sharding = filled_in(Zero(offload=Offload.CPU, persistence_threshold=1), 10)
    copies = list(coordinator_of(flat(4000), sharding, Alive(), [(0, "m0")]).enter((0, "m0")))
    assert max(copies) == allocated(2000 * HALF)


def test_what_is_on_the_way_to_the_host() -> None:
    assert accumulation_buffer(flat(1000, 3000)) == allocated(3000 * HALF)
    assert norms(flat(1000, 3000), 0, divided=True) == 2 * 512
    assert norms(flat(1000, 3000), 1, divided=False) == 512
    assert sent_share(1000, HALF) == allocated(1000 * HALF) + allocated(1000 * 8)


@pytest.mark.parametrize("choice", [Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD])
def test_masters_and_states_are_the_hosts_where_the_optimizer_is(choice: Sharding) -> None:
    on_gpu, on_host = (
        model(8).footprint(strategy(choice, offload=offload), 1).persistent
        for offload in (Offload.NONE, Offload.OPTIMIZER)
    )
    parameters = INVENTORY.num_parameters
    assert on_gpu.optimizer_states == pytest.approx(3 * FP32 * parameters / 8, rel=1e-3)
    assert on_host.optimizer_states == 0
    assert on_host.parameters == on_gpu.parameters


def test_parameters_on_the_host_leave_small_ones_on_the_gpu() -> None:
    kept = model(8).footprint(strategy(Sharding.FULL_SHARD, offload=Offload.CPU), 1).persistent.parameters
    whole = model(8).footprint(strategy(Sharding.FULL_SHARD, offload=Offload.OPTIMIZER), 1).persistent.parameters
    assert whole - kept == pytest.approx(HALF * INVENTORY.num_parameters / 8, rel=1e-3)
    assert 0 < kept < whole / 100


def test_a_larger_bucket_takes_more_and_a_second_one_as_much_again() -> None:
    def reduced(**zero: object) -> int:
        return model(8).footprint(strategy(Sharding.SHARD_GRAD_OP, **zero), 1).moments(1)[Moment.BLOCK_BACKWARD]

    bucket = allocated(50_000_000 * HALF)
    one = reduced(reduce_bucket=50_000_000)
    assert reduced(reduce_bucket=50_000_000, overlap_comm=OverlapComm.YES) == one + bucket


def test_adapters_alone_have_masters_and_states() -> None:
    adapters = strategy(Sharding.SHARD_GRAD_OP)._replace(finetuning=Lora(8, "all-linear"))
    persistent = model(2).footprint(adapters, 1).persistent
    assert persistent.optimizer_states < FP32 * INVENTORY.num_parameters / 20
    assert persistent.parameters > HALF * INVENTORY.num_parameters


@pytest.mark.parametrize("quantization", [Quantization.NF4, Quantization.NF4_DOUBLE])
def test_zero3_divides_the_packed_values_of_a_quantized_base_and_leaves_its_scales_whole(
    quantization: Quantization,
) -> None:
    base = Lora(8, "all-linear", quantization)

    def parameters(choice: Sharding) -> int:
        quantized = strategy(choice, persistence_threshold=1)._replace(finetuning=base)
        return model(2).footprint(quantized, 1).persistent.parameters

    linears = [w for kind in INVENTORY.layer_kinds for w in INVENTORY.blocks[kind].linears]
    double = quantization is Quantization.NF4_DOUBLE
    scales = sum(flat_bytes(w.out_features, w.in_features, double=double)[1] for w in linears)
    whole, divided = parameters(Sharding.SHARD_GRAD_OP), parameters(Sharding.FULL_SHARD)
    assert divided == pytest.approx(scales + (whole - scales) / 2, rel=0.002)


def test_traffic_of_stages() -> None:
    parameters = INVENTORY.num_parameters
    found = {c: model(8).traffic(strategy(c)) for c in (Sharding.ZERO1, Sharding.SHARD_GRAD_OP, Sharding.FULL_SHARD)}
    ring = HALF * parameters * 7 / 8
    assert found[Sharding.ZERO1].micro.within_node == 0
    assert found[Sharding.ZERO1].step.within_node == pytest.approx(3 * ring, rel=1e-2)
    assert found[Sharding.SHARD_GRAD_OP].micro.within_node == pytest.approx(2 * ring, rel=1e-2)
    assert found[Sharding.FULL_SHARD].micro.within_node == pytest.approx(3 * ring, rel=1e-2)
    offloaded = model(8).traffic(strategy(Sharding.FULL_SHARD, offload=Offload.OPTIMIZER))
    assert offloaded.optimizer_bytes == 0
    assert offloaded.step_with_host == pytest.approx(HALF * parameters / 8, rel=1e-2)
