"""A step takes as long as its slowest resource, and what is lost beside it."""

from __future__ import annotations

import pytest

from planner.memory import Moved, Traffic, Work
from planner.records.plan import Record, Shares
from planner.time import Rates, seconds_between, step_time
from planner.time.collectives import HOP_SECONDS, OVERLAP, OVERLAP_OF_FSDP1
from planner.time.gpu import gpu_seconds
from planner.time.host import ATTENTION_KERNELS, ATTENTION_SECONDS, MODULE_LAUNCHES, UNIT_LAUNCHES
from planner.time.step import StepTime

RATES = Rates(
    half_flops=100.0,
    fp32_flops=10.0,
    fp8_flops=400.0,
    attention_forward=50.0,
    attention_backward=40.0,
    attention_fp32=5.0,
    bytes=1_000.0,
    node_link_bytes=500.0,
    network_bytes=50.0,
    peer_bytes=25.0,
    host_link_bytes=20.0,
    host_bytes=200.0,
    launch=2e-5,
)
WORK = Work(bytes_per_sample=3_000)
"""Three seconds a sample."""


@pytest.mark.parametrize(
    ("work", "products", "memory_bound"),
    [
        (Work(half_flops_per_sample=300), 2 * 3.0, 0.0),
        (Work(fp32_flops_per_sample=300), 2 * 30.0, 0.0),
        (Work(fp8_flops_per_sample=800), 2 * 2.0, 0.0),
        (Work(attention_forward=100, attention_backward=200), 2 * (2.0 + 5.0), 0.0),
        (Work(attention_fp32=20), 2 * 4.0, 0.0),
        (Work(bytes_per_sample=4_000), 0.0, 2 * 4.0),
        (Work(fixed_bytes=7_000), 0.0, 7.0),
        (Work(written_per_sample=500, written_fixed=1_000), 0.0, 2 * 0.5 + 1.0),
        (Work(host_bytes_per_sample=100), 0.0, 2 * 5.0),
        (Work(), 0.0, 0.0),
    ],
    ids=str,
)
def test_kernels_run_one_after_the_other(work: Work, products: float, memory_bound: float) -> None:
    assert gpu_seconds(work, RATES, 2) == pytest.approx((products, memory_bound))


@pytest.mark.parametrize(
    ("moved", "seconds"),
    [
        (Traffic(), 3.0),
        (Traffic(Moved(within_node=500)), 3.0 + OVERLAP * 1.0),
        (Traffic(Moved(across_nodes=250)), 5.0 + OVERLAP * 3.0),
        (Traffic(Moved(within_node=500, across_nodes=50)), 3.0 + OVERLAP * 2.0),
        (Traffic(Moved(within_node=500, between_peers=50)), 3.0 + OVERLAP * 2.0),  # on a stream of its own
        (Traffic(with_host=40), 3.0 + OVERLAP * 2.0),
        (Traffic(waited_for=Moved(within_node=500)), 4.0),
        (Traffic(units=3000), 3000 * UNIT_LAUNCHES * RATES.launch),
        (Traffic(modules=9000), 9000 * MODULE_LAUNCHES * RATES.launch),
    ],
    ids=str,
)
def test_a_micro_batch_takes_the_longest_of_gpu_host_and_links(moved: Traffic, seconds: float) -> None:
    assert step_time(WORK, Work(), moved, RATES, 1, 1).total == pytest.approx(seconds)


def test_a_collective_passes_each_rank_of_its_ring() -> None:
    found = step_time(Work(), Work(), Traffic(Moved(hops=14)), RATES, 1, 1)
    assert found.total == pytest.approx(14 * HOP_SECONDS)


def test_a_short_micro_batch_waits_for_the_host_to_launch_its_kernels() -> None:
    found = step_time(Work(fixed_bytes=10, kernels=5_000), Work(), Traffic(), RATES, 1, 2)
    assert found.total == pytest.approx(2 * 5_000 * RATES.launch)
    assert found.launch == pytest.approx(2 * (5_000 * RATES.launch - 0.01))


@pytest.mark.parametrize(
    ("moved", "seconds"),
    [
        (Traffic(step=Moved(within_node=500)), 12.0 + OVERLAP * 1.0),
        (Traffic(step=Moved(across_nodes=250)), 12.0 + 1.0 + OVERLAP * 4.0),  # backward is two thirds of the last six
        (Traffic(optimizer_bytes=1_500), 13.5),
        (Traffic(optimizer_flops=50), 12.5),
        (Traffic(host_optimizer_bytes=100), 12.5),
        (Traffic(step_with_host=10), 12.5),
        (Traffic(gradient_bytes=1_000), 15.0),  # one sum: two are read and one is written
    ],
    ids=str,
)
def test_a_step_is_its_micro_batches_what_is_waited_for_and_the_update(moved: Traffic, seconds: float) -> None:
    assert step_time(WORK, Work(), moved, RATES, 2, 2).total == pytest.approx(seconds)


def test_nothing_slows_the_gpu_down_while_it_waits_for_the_host() -> None:
    launched = Work(bytes_per_sample=3_000, kernels=200_000)
    found = step_time(launched, Work(), Traffic(Moved(within_node=500)), RATES, 1, 1)
    assert found.total == pytest.approx(200_000 * RATES.launch)
    assert found.communication == pytest.approx(OVERLAP * 1.0)


def test_in_lockstep_the_host_is_hidden_only_behind_what_the_gpu_computes_meanwhile() -> None:
    free, lockstep = Traffic(units=1500), Traffic(units=1500, lockstep=True)
    hooks = 1500 * UNIT_LAUNCHES * RATES.launch
    assert step_time(WORK, Work(), free, RATES, 1, 1).total == pytest.approx(3.0)
    found = step_time(WORK, Work(), lockstep, RATES, 1, 1).total
    assert found == pytest.approx(hooks + (1 - ATTENTION_SECONDS) * 3.0)
    launched = WORK._replace(kernels=150_000)
    first = hooks + ATTENTION_KERNELS * 150_000 * RATES.launch
    found = step_time(launched, Work(), lockstep, RATES, 1, 1).total
    assert found == pytest.approx(first + (1 - ATTENTION_SECONDS) * 3.0)
    assert step_time(WORK, Work(), Traffic(units=1, lockstep=True), RATES, 1, 1).total == pytest.approx(3.0)


def test_fsdp1_hides_nothing_of_what_it_exchanges_within_a_node() -> None:
    near, far = Moved(within_node=500), Moved(across_nodes=50)
    for moved, share in ((near, OVERLAP_OF_FSDP1), (far, OVERLAP)):
        found = step_time(WORK, Work(), Traffic(moved, units=1, lockstep=True), RATES, 1, 1).total
        assert found == pytest.approx(3.0 + share * 1.0)
    assert step_time(WORK, Work(), Traffic(near, units=1), RATES, 1, 1).total == pytest.approx(3.0 + OVERLAP)


def test_the_parts_of_a_step_add_up_to_it() -> None:
    work = Work(300, 20, 4_000, 500, 10, 80, 100, 50, 60, 70, 400_000)
    again = Work(100, 0, 1_000, 0, 0, 0, 20, 10, 30, 0)
    moved = Traffic(Moved(100, 200, 300, 28), Moved(50), Moved(10, 20), 100, 30, 40, 50, 60, 70, 3, 9)
    found = step_time(work, again, moved, RATES, 3, 4)
    assert sum(found.parts.values()) == pytest.approx(found.total)
    assert found.recomputation == pytest.approx(4 * sum(gpu_seconds(again, RATES, 3)))


def test_the_range_is_wider_where_the_gpu_waits_and_where_nothing_was_measured() -> None:
    computing = step_time(WORK, Work(), Traffic(), RATES, 1, 1)
    waiting = step_time(WORK, Work(), Traffic(waited_for=Moved(within_node=500)), RATES, 1, 1)
    low, high = seconds_between(computing, measured=True)
    assert low < computing.total < high
    lower, higher = seconds_between(computing, measured=False)
    assert lower < low < high < higher
    lowest, highest = (bound / waiting.total for bound in seconds_between(waiting, measured=True))
    assert lowest < low / computing.total < high / computing.total < highest


def test_answers_name_all_parts_of_a_step() -> None:
    assert set(StepTime._fields) - {"total"} == set(Shares.model_fields) - set(Record.model_fields)
