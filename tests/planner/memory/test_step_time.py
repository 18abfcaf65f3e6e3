"""A step takes as long as its slowest resource: products, memory, links and the host."""

from __future__ import annotations

import pytest

from hardware import Cluster, load_catalog
from planner.memory.settings.parts import Work
from planner.memory.sharding.account import Unit
from planner.memory.step.time import Rates, Traffic, micro_batch_seconds, step_seconds
from strategies import DataParallel, Fsdp2, Offload, Precision, Replicated, Sharding

CATALOG = load_catalog()
A100, H100, T4, P100 = (CATALOG.get(name) for name in ("A100-40GB-SXM", "H100-80GB-SXM", "T4", "P100"))


# --- rates ---


@pytest.mark.parametrize(
    ("gpu", "precision", "half", "fp32", "fp8"),
    [
        ("A100-40GB-SXM", Precision.BF16_MIXED, 312e12, 19.5e12, 312e12),
        ("A100-40GB-SXM", Precision.FP16_MIXED, 312e12, 19.5e12, 312e12),
        ("A100-40GB-SXM", Precision.FP32, 19.5e12, 19.5e12, 19.5e12),
        ("A100-40GB-SXM", Precision.TF32, 156e12, 156e12, 156e12),
        ("T4", Precision.FP16_MIXED, 65e12, 8.1e12, 65e12),
        ("T4", Precision.TF32, 8.1e12, 8.1e12, 8.1e12),
    ],
)
def test_products_run_at_the_peak_of_their_dtype_and_fp32_without_tf32_unless_told(
    gpu: str, precision: Precision, half: float, fp32: float, fp8: float
) -> None:
    rates = Rates.of(Cluster(CATALOG.get(gpu)), precision)
    assert (rates.half_flops, rates.fp32_flops, rates.fp8_flops) == (half, fp32, fp8)


def test_products_in_fp8_run_at_their_own_peak() -> None:
    rates = Rates.of(Cluster(H100), Precision.FP8_MIXED)
    assert rates.fp8_flops == H100.peak_flops.fp8
    assert rates.half_flops == H100.peak_flops.bf16


def test_a_rank_has_its_links_and_its_share_of_the_hosts_memory() -> None:
    cluster = Cluster(A100, 8, 2)
    rates = Rates.of(cluster, Precision.BF16_MIXED)
    assert rates.bytes == A100.memory_bandwidth_bytes_per_second
    assert (rates.link_bytes, rates.node_link_bytes) == (25e9, 300e9)
    assert rates.host_link_bytes == A100.host_link.bytes_per_second
    assert rates.host_bytes == 409_600_000_000 / 8


# --- traffic ---


def unit(gradients: int, gathered: int = 0, gathered_gradients: int = 0, stored: int = 0) -> Unit:
    return Unit(stored, (), gathered, gradients, gathered_gradients)


UNITS = [unit(800, 1600, 1200, 400), unit(160, 320, 240, 80)]
GRADIENTS, GATHERED, WHOLE_GRADIENTS, STORED, STATES = 960, 1920, 1440, 480, 5_000
OPTIMIZER = 3 * GRADIENTS + 2 * STATES


def traffic(sharding: DataParallel, gpus: int, nodes: int = 1) -> Traffic:
    return Traffic.of(UNITS, sharding, Cluster(A100, gpus, nodes), STATES)


def test_one_rank_moves_what_its_optimizer_reads_and_writes() -> None:
    assert traffic(Replicated(), 1) == Traffic(optimizer_bytes=OPTIMIZER)
    assert Traffic() == Traffic(0, 0, 0, 0, 0, 0, 0, 0)


def test_ddp_reduces_gradients_once_a_step_which_moves_each_twice() -> None:
    assert traffic(Replicated(), 4) == Traffic(per_step=2 * 960 * 3 // 4, optimizer_bytes=OPTIMIZER)


def test_under_zero1_each_rank_updates_its_part_and_sends_it_to_the_others() -> None:
    assert traffic(Replicated(Sharding.ZERO1), 4) == Traffic(
        per_step=3 * 960 * 3 // 4, optimizer_bytes=3 * GRADIENTS // 4 + 2 * STATES
    )


def test_fsdp_gathers_parameters_twice_and_scatters_gradients_in_every_micro_batch() -> None:
    once = (GATHERED + WHOLE_GRADIENTS) * 3 // 4
    again = GATHERED * 3 // 4
    assert traffic(Fsdp2(), 4) == Traffic(within_node=once + again, optimizer_bytes=OPTIMIZER)
    assert traffic(Fsdp2(Sharding.SHARD_GRAD_OP), 4) == Traffic(within_node=once, optimizer_bytes=OPTIMIZER)


def test_what_is_resharded_to_a_node_is_gathered_again_within_it() -> None:
    once = (GATHERED + WHOLE_GRADIENTS) * 15 // 16
    expected = Traffic(per_micro_batch=once, within_node=GATHERED * 7 // 8, optimizer_bytes=OPTIMIZER)
    assert traffic(Fsdp2(reshard_size=8), 8, 2) == expected
    whole = traffic(Fsdp2(), 8, 2)
    assert whole == Traffic(per_micro_batch=once + GATHERED * 15 // 16, optimizer_bytes=OPTIMIZER)
    one_rank = traffic(Fsdp2(reshard_size=1), 8, 2)
    assert one_rank == Traffic(per_micro_batch=once, optimizer_bytes=OPTIMIZER)


def test_replicas_of_shards_reduce_their_shards_over_the_nodes() -> None:
    hybrid = traffic(Fsdp2(Sharding.HYBRID_SHARD, shard_size=8), 8, 2)
    within = (GATHERED + WHOLE_GRADIENTS) * 7 // 8 + GATHERED * 7 // 8
    between = 2 * (WHOLE_GRADIENTS // 8 * 1 // 2)
    assert hybrid == Traffic(per_micro_batch=between, within_node=within, optimizer_bytes=OPTIMIZER)
    in_a_node = traffic(Fsdp2(Sharding.HYBRID_SHARD, shard_size=2), 4)
    within = (GATHERED + WHOLE_GRADIENTS) // 2 + GATHERED // 2 + 2 * (WHOLE_GRADIENTS // 2 // 2)
    assert in_a_node == Traffic(within_node=within, optimizer_bytes=OPTIMIZER)


def test_what_is_offloaded_is_sent_from_the_host_as_often_as_it_is_gathered() -> None:
    offload = Offload.CPU
    full = traffic(Fsdp2(offload=offload), 4)
    assert (full.with_host, full.host_optimizer_bytes, full.optimizer_bytes) == (2 * STORED, OPTIMIZER, 0)
    assert traffic(Fsdp2(reshard_size=2, offload=offload), 4).with_host == max(STORED, GRADIENTS)
    kept = traffic(Fsdp2(Sharding.SHARD_GRAD_OP, offload=offload), 4)
    assert (kept.with_host, kept.within_node) == (GRADIENTS, traffic(Fsdp2(Sharding.SHARD_GRAD_OP), 4).within_node)


# --- seconds ---

RATES = Rates(
    half_flops=100.0,
    fp32_flops=10.0,
    bytes=1_000.0,
    link_bytes=50.0,
    node_link_bytes=500.0,
    host_link_bytes=20.0,
    host_bytes=200.0,
    fp8_flops=400.0,
)


@pytest.mark.parametrize(
    ("work", "seconds"),
    [
        (Work(half_flops_per_sample=300), 2 * 3.0),
        (Work(fp32_flops_per_sample=300), 2 * 30.0),
        (Work(fp8_flops_per_sample=800), 2 * 2.0),
        (Work(bytes_per_sample=4_000), 2 * 4.0),
        (Work(host_bytes_per_sample=100), 2 * 5.0),
        (Work(fixed_bytes=7_000), 7.0),
        (Work(100, 10, 1_000, 1_000, 20, 400), 2 * 5.0 + 1.0),
        (Work(), 0.0),
    ],
    ids=str,
)
def test_a_micro_batch_of_two_does_its_work_one_after_the_other(work: Work, seconds: float) -> None:
    assert micro_batch_seconds(work, Traffic(), RATES, 2) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("moved", "seconds"),
    [
        (Traffic(per_micro_batch=100), 2.0),
        (Traffic(within_node=1_000), 2.0),
        (Traffic(with_host=40), 2.0),
        (Traffic(per_micro_batch=100, within_node=1_500, with_host=40), 3.0),
        (Traffic(per_micro_batch=10), 1.0),
    ],
    ids=str,
)
def test_collectives_overlap_with_work_and_with_each_other(moved: Traffic, seconds: float) -> None:
    assert micro_batch_seconds(Work(fixed_bytes=1_000), moved, RATES, 3) == pytest.approx(seconds)


WORK = Work(bytes_per_sample=3_000)
"""Three seconds a sample."""


@pytest.mark.parametrize(
    ("moved", "seconds"),
    [
        (Traffic(), 12.0),
        (Traffic(per_step=100), 12.0),  # within two thirds of the last micro-batch
        (Traffic(per_step=200), 12.0),
        (Traffic(per_step=250), 13.0),
        (Traffic(optimizer_bytes=1_500), 13.5),
        (Traffic(optimizer_flops=50), 12.5),
        (Traffic(host_optimizer_bytes=100), 12.5),
        (Traffic(step_with_host=10), 12.5),
        (Traffic(per_step=250, optimizer_bytes=1_000, optimizer_flops=100, host_optimizer_bytes=200), 16.0),
    ],
    ids=str,
)
def test_a_step_is_its_micro_batches_what_is_waited_for_and_the_update(moved: Traffic, seconds: float) -> None:
    assert step_seconds(WORK, moved, RATES, 2, 2) == pytest.approx(seconds)


def test_work_adds_up_and_is_multiplied_field_by_field() -> None:
    work = Work(1, 2, 3, 4, 5, 6)
    assert Work() == Work(0, 0, 0, 0, 0, 0)
    assert work.plus(Work(10, 20, 30, 40, 50, 60)) == Work(11, 22, 33, 44, 55, 66)
    assert work.times(3) == Work(3, 6, 9, 12, 15, 18)
