"""Streams have pools of their own in the simulated allocator, and what two of them use waits for the GPU."""

from collections.abc import Iterable

import pytest

from planner.allocator.native import MIB, CachingAllocator
from planner.allocator.streamed import StreamedAllocator
from planner.allocator.streams import Stream
from planner.replay.recording.trace import Label

SIZE = 64 * MIB


def served(labels: dict[int, Label], events: Iterable[tuple[int, int]]) -> StreamedAllocator:
    allocator = StreamedAllocator(CachingAllocator(), {number: of[2:] for number, of in labels.items()})
    allocator.run(events)
    return allocator


def label(stream: Stream, *, shared: bool = False) -> Label:
    return Label(None, "", stream, shared)


@pytest.mark.parametrize(("second", "reserved"), [(Stream.GATHER, SIZE), (Stream.COMPUTE, 2 * SIZE)])
def test_a_block_serves_its_own_stream_alone(second: Stream, reserved: int) -> None:
    labels = {1: label(Stream.GATHER), 2: label(second)}
    allocator = served(labels, [(1, SIZE), (1, -SIZE), (2, SIZE)])
    assert (allocator.allocated, allocator.reserved) == (SIZE, reserved)


def test_what_two_streams_use_waits_until_fsdp1_gathers_two_units_later() -> None:
    labels = {number: label(Stream.GATHER, shared=True) for number in range(1, 7)}
    units = [event for number in range(1, 7) for event in ((number, SIZE), (number, -SIZE))]
    assert served(labels, units).reserved == 2 * SIZE


def test_a_block_serves_others_once_the_gpu_has_passed_it() -> None:
    labels = {number: label(Stream.COMPUTE, shared=True) for number in (1, 2)}
    sent = [(1, SIZE), (1, -SIZE), (2, SIZE), (2, -SIZE)]
    assert served(labels, [*sent, (3, SIZE)]).reserved == 3 * SIZE
    assert served(labels, [*sent, (1, 0), (3, SIZE)]).reserved == 2 * SIZE
    assert served(labels, [*sent, (1, 0), (1, 0), (3, SIZE), (4, SIZE)]).reserved == 3 * SIZE


def test_a_wait_for_the_gpu_makes_all_blocks_usable() -> None:
    labels = {1: label(Stream.COMPUTE, shared=True)}
    allocator = served(labels, [(1, SIZE), (1, -SIZE)])
    allocator.catch_up()
    allocator.run([(2, SIZE)])
    assert allocator.reserved == SIZE
