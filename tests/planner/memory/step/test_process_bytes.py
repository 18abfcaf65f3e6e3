"""What a process takes beyond its tensors, and the largest micro-batch whose process is within a budget."""

from __future__ import annotations

import pytest

from hardware import GIB, MIB, Cluster, load_catalog
from planner.memory.sharding.persistent import Persistent
from planner.memory.step.footprint import Footprint
from planner.memory.step.process import Outside, Slack
from planner.memory.step.step import Line, Lines, Moment
from strategies import Allocator, Attention

CATALOG = load_catalog()


def line(fixed: int, per_sample: int) -> Line:
    return Line(fixed, per_sample, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("gpu", "gpus", "nodes", "communicator"),
    [("A100", 1, 1, 0), ("A100", 2, 1, 544), ("A100", 1, 2, 544), ("A100", 3, 1, 688), ("A100", 8, 4, 688)],
)
def test_a_process_has_two_workspaces_a_context_and_a_communicator_where_there_are_others(
    gpu: str, gpus: int, nodes: int, communicator: int
) -> None:
    found = CATALOG.get(gpu)
    outside = Outside.of(Cluster(found, gpus, nodes))
    assert outside == Outside(2 * found.cublas_workspace_bytes, found.context_bytes, communicator * MIB)
    assert outside.process_bytes(GIB) == GIB + found.context_bytes + communicator * MIB
    assert outside.reserved_within(outside.process_bytes(GIB)) == GIB


def test_expandable_segments_lose_a_share_of_what_comes_and_goes_and_100_mebibytes() -> None:
    slack = Slack.of(Allocator.EXPANDABLE, Attention.SDPA, 3 * GIB)
    assert slack == Slack.of(Allocator.EXPANDABLE, Attention.EAGER, 3 * GIB) == Slack(100 * MIB, 70, 3 * GIB)
    assert slack.reserved_bytes(5 * GIB) == 5 * GIB + 2 * GIB * 70 // 1000 + 100 * MIB


def test_native_segments_lose_more_and_most_under_eager_attention() -> None:
    assert Slack.of(Allocator.NATIVE, Attention.SDPA, GIB) == Slack(0, 176, GIB)
    assert Slack.of(Allocator.NATIVE, Attention.FLASH_2, GIB) == Slack(0, 176, GIB)
    assert Slack.of(Allocator.NATIVE, Attention.EAGER, GIB) == Slack(0, 421, GIB)
    assert Slack(0, 421, 1000).reserved_bytes(3000) == 3000 + 842


@pytest.mark.parametrize("slack", [Slack(0, 0, 0), Slack(100, 70, 37), Slack(0, 176, 1000), Slack(7, 421, 0)])
def test_what_can_be_allocated_within_a_reserve_is_the_exact_inverse(slack: Slack) -> None:
    for reserved in range(slack.fixed_bytes + slack.persistent_bytes, 3_000):
        allocated = slack.allocated_within(reserved)
        assert slack.reserved_bytes(allocated) <= reserved < slack.reserved_bytes(allocated + 1)


PERSISTENT = Persistent(100, 20, 3)
OUTSIDE = Outside(50, 1_000, 500)
LINES: Lines = {
    Moment.FORWARD: (line(10, 30), line(100, 10)),
    Moment.BLOCK_BACKWARD: (line(40, 25),),
}
FOOTPRINT = Footprint(PERSISTENT, LINES, OUTSIDE, Slack(0, 0, 0))


def test_what_persists_is_parameters_states_and_buckets() -> None:
    assert PERSISTENT.total == 123


@pytest.mark.parametrize(
    ("size", "peak", "moment"), [(1, 110, Moment.FORWARD), (4, 140, Moment.FORWARD), (6, 190, Moment.FORWARD)]
)
def test_the_peak_is_the_largest_line_of_any_moment(size: int, peak: int, moment: Moment) -> None:
    found = FOOTPRINT.peak(size)
    assert (found.tensor_bytes, found.moment) == (peak + 123, moment)
    assert found.line.at(size) == peak
    assert FOOTPRINT.allocated_bytes(size) == peak + 123 + 50
    assert FOOTPRINT.reserved_bytes(size) == peak + 123 + 50
    assert FOOTPRINT.process_bytes(size) == peak + 123 + 50 + 1_500


def test_each_moment_has_a_peak_of_its_own() -> None:
    assert FOOTPRINT.moments(1) == {Moment.FORWARD: 173 + 110, Moment.BLOCK_BACKWARD: 173 + 65}
    assert FOOTPRINT.moments(5) == {Moment.FORWARD: 173 + 160, Moment.BLOCK_BACKWARD: 173 + 165}


def test_the_largest_micro_batch_is_the_smallest_bound_of_all_lines() -> None:
    def largest(room: int) -> int:
        return FOOTPRINT.largest_micro_batch(room + 123 + 50 + 1_500)

    rooms = (109, 110, 119, 120, 129, 130, 164, 165, 189, 190)
    assert [largest(room) for room in rooms] == [0, 1, 1, 2, 2, 3, 4, 5, 5, 6]
    assert largest(-10_000) == 0


def test_a_line_that_does_not_grow_fits_or_not() -> None:
    flat = FOOTPRINT._replace(lines={Moment.OPTIMIZER_STEP: (line(500, 0),), Moment.FORWARD: (line(0, 10),)})
    assert flat.largest_micro_batch(1_673 + 500) == 0  # it has room, but none for a sample
    assert flat.largest_micro_batch(1_673 + 501) == 1


def by_steps(size: int) -> Lines:
    """Of a loss in chunks: 10 bytes a sample, and 100 for every four."""
    return {Moment.FORWARD: (line(100 * -(-size // 4), 10),)}


def test_where_lines_change_with_the_micro_batch_the_largest_is_bisected() -> None:
    footprint = Footprint(PERSISTENT, by_steps(1), OUTSIDE, Slack(0, 0, 0), by_steps)
    for size in range(1, 70):
        needed = 100 * -(-size // 4) + 10 * size
        assert footprint.allocated_bytes(size) == needed + 173
        assert footprint.moments(size) == {Moment.FORWARD: needed + 173}
        assert footprint.largest_micro_batch(needed + 1_673) == size
        before = size - 1
        assert footprint.largest_micro_batch(needed + 1_672) == before
    assert footprint.largest_micro_batch(0) == 0


def test_slack_counts_within_the_budget() -> None:
    footprint = FOOTPRINT._replace(slack=Slack(20, 100, 173))
    # 4 samples: 140 bytes come and go beside 173 that stay: 14 and 20 are lost.
    assert footprint.reserved_bytes(4) == 173 + 140 + 14 + 20
    assert footprint.largest_micro_batch(footprint.process_bytes(4)) == 4
    assert footprint.largest_micro_batch(footprint.process_bytes(4) - 1) == 3
