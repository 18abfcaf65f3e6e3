"""The caching allocator's rules, on traces small enough to do by hand."""

import random
from contextlib import suppress

import pytest

from planner.allocator.expandable import ExpandableAllocator
from planner.allocator.native import FIRST_ADDRESS, MIB, CachingAllocator, OutOfMemoryError


def after(*trace: tuple[int, int]) -> CachingAllocator:
    allocator = CachingAllocator()
    allocator.run(trace)
    return allocator


def expandable(*trace: tuple[int, int], limit: int | None = None) -> ExpandableAllocator:
    allocator = ExpandableAllocator(limit)
    allocator.run(trace)
    return allocator


def test_small_requests_share_a_segment_of_2_mib() -> None:
    allocator = after((1, 512), (2, 1000), (3, MIB // 2))
    assert allocator.reserved == 2 * MIB
    assert allocator.allocated == 512 + 1024 + MIB // 2


def test_a_request_below_10_mib_takes_a_segment_of_20_mib() -> None:
    assert after((1, 9 * MIB)).reserved == 20 * MIB


def test_a_larger_request_takes_a_segment_of_its_own_rounded_to_2_mib() -> None:
    assert after((1, 11 * MIB)).reserved == 12 * MIB


def test_a_large_block_keeps_a_remainder_of_up_to_a_mib_and_gives_back_a_larger_one() -> None:
    assert after((1, 11 * MIB)).allocated == 12 * MIB
    assert after((1, 9 * MIB)).allocated == 9 * MIB


def test_a_freed_block_is_used_again() -> None:
    allocator = after((1, 30 * MIB), (1, -30 * MIB), (2, 25 * MIB))
    assert allocator.reserved == 30 * MIB
    assert allocator.allocated == 25 * MIB


def test_neighbours_that_are_both_free_become_one_block() -> None:
    allocator = after((1, 8 * MIB), (2, 8 * MIB), (1, -8 * MIB), (2, -8 * MIB), (3, 18 * MIB))
    assert allocator.reserved == 20 * MIB


def test_fragments_of_different_segments_do_not_join() -> None:
    allocator = after((1, 16 * MIB), (2, 16 * MIB), (1, -16 * MIB), (2, -16 * MIB), (3, 32 * MIB))
    assert allocator.reserved == 64 * MIB


def test_the_best_fitting_block_serves() -> None:
    allocator = after((1, 40 * MIB), (2, 20 * MIB), (1, -40 * MIB), (2, -20 * MIB), (3, 20 * MIB), (4, 40 * MIB))
    assert allocator.reserved == 60 * MIB


def test_at_its_limit_it_gives_free_segments_back_and_tries_again() -> None:
    allocator = CachingAllocator(50 * MIB)
    allocator.run([(1, 30 * MIB), (1, -30 * MIB), (2, 40 * MIB)])
    assert (allocator.reserved, allocator.peak_reserved, allocator.retries) == (40 * MIB, 40 * MIB, 1)


def test_a_segment_that_is_used_in_part_cannot_be_given_back() -> None:
    allocator = CachingAllocator(50 * MIB)
    trace = [(1, 12 * MIB), (2, 28 * MIB), (1, -12 * MIB), (2, -28 * MIB), (3, 14 * MIB), (4, 36 * MIB)]
    with pytest.raises(OutOfMemoryError, match="37748736 bytes cannot be reserved beside 29360128 of 52428800"):
        allocator.run(trace)


def test_expandable_segments_grow_in_pages_of_20_mib() -> None:
    assert expandable((1, 11 * MIB)).reserved == 20 * MIB
    assert expandable((1, 11 * MIB), (2, 11 * MIB)).reserved == 40 * MIB
    assert expandable((1, 512)).reserved == 2 * MIB


def test_expandable_blocks_have_no_remainder() -> None:
    assert expandable((1, 11 * MIB + 1)).allocated == 11 * MIB + 512


def test_a_free_block_at_the_end_of_the_range_grows_to_serve_a_larger_request() -> None:
    assert expandable((1, 40 * MIB), (2, 20 * MIB), (2, -20 * MIB), (3, 60 * MIB)).reserved == 100 * MIB


def test_a_free_block_that_cannot_grow_serves_before_one_that_can() -> None:
    allocator = expandable((1, 40 * MIB), (2, 20 * MIB), (3, 20 * MIB), (1, -40 * MIB), (3, -20 * MIB), (4, 15 * MIB))
    assert allocator.reserved == 80 * MIB
    allocator.run([(5, 60 * MIB)])  # at the end, where 20 MiB are still free
    assert allocator.reserved == 120 * MIB


def test_expandable_pages_that_are_wholly_free_are_unmapped_at_the_limit_and_mapped_again() -> None:
    trace = [(1, 40 * MIB), (2, 10 * MIB), (1, -40 * MIB), (3, 70 * MIB), (2, -10 * MIB), (4, 20 * MIB)]
    allocator = expandable(*trace, limit=100 * MIB)
    assert (allocator.retries, allocator.allocated) == (1, 90 * MIB)
    assert allocator.reserved <= 100 * MIB


def test_beyond_its_limit_expandable_memory_is_out() -> None:
    with pytest.raises(OutOfMemoryError):
        expandable((1, 40 * MIB), (2, 50 * MIB), limit=80 * MIB)


def test_an_observer_is_told_every_action_with_the_bytes_it_is_about() -> None:
    seen: list[tuple[str, int, int]] = []
    allocator = CachingAllocator(50 * MIB, lambda action, block, size: seen.append((action, block.address, size)))
    allocator.run([(1, 29 * MIB + 512), (1, -29 * MIB), (2, 40 * MIB)])
    first = FIRST_ADDRESS - 30 * MIB
    second = first - 40 * MIB
    assert seen == [
        ("segment_alloc", first, 30 * MIB),
        ("alloc", first, 29 * MIB + 512),
        ("free", first, 30 * MIB),
        ("segment_free", first, 30 * MIB),
        ("segment_alloc", second, 40 * MIB),
        ("alloc", second, 40 * MIB),
    ]


def test_of_equal_blocks_the_one_in_the_youngest_segment_is_used() -> None:
    allocator = CachingAllocator()
    older, younger = allocator.allocate(12 * MIB), allocator.allocate(12 * MIB)
    allocator.recycle(older)
    allocator.recycle(younger)
    assert allocator.allocate(12 * MIB).address == younger.address


def test_an_emptied_cache_keeps_only_segments_in_use() -> None:
    assert after((1, 12 * MIB), (2, 14 * MIB), (1, -12 * MIB), (0, 0)).reserved == 14 * MIB


def literally(trace: list[tuple[int, int]], limit: int) -> tuple[int, int, int]:
    """Serves a trace with every rule of the native allocator spelled out, on segments that are lists of pieces.

    Returns the peaks of allocated and reserved bytes and the number of retries, up to the first request that fails.
    """
    segments: list[list[list[int]]] = []  # pieces of [bytes, storage or 0], the youngest segment first
    reserved = peak = most = retries = 0
    for storage, num_bytes in trace:
        if num_bytes < 0:
            segment, place = next((s, i) for s in segments for i, piece in enumerate(s) if piece[1] == storage)
            segment[place][1] = 0
            for i in (place, place - 1):
                if 0 <= i < len(segment) - 1 and not segment[i][1] and not segment[i + 1][1]:
                    segment[i][0] += segment.pop(i + 1)[0]
            continue
        size = -(-num_bytes // 512) * 512
        small = size <= MIB
        new = 2 * MIB if small else 20 * MIB if size < 10 * MIB else -(-size // (2 * MIB)) * 2 * MIB
        pool = [s for s in segments if (sum(piece[0] for piece in s) == 2 * MIB) is small]
        free = [(s, i) for s in pool for i, piece in enumerate(s) if not piece[1] and piece[0] >= size]
        if not free and reserved + new > limit:
            retries += 1
            segments = [s for s in segments if len(s) > 1 or s[0][1]]
            reserved = sum(piece[0] for s in segments for piece in s)
            if reserved + new > limit:
                break
        if not free:
            segments.insert(0, [[new, 0]])
            reserved += new
            free = [(segments[0], 0)]
        segment, place = min(free, key=lambda at: at[0][at[1]][0])
        rest = segment[place][0] - size
        if rest >= 512 if small else rest > MIB:
            segment[place : place + 1] = [[size, storage], [rest, 0]]
        else:
            segment[place][1] = storage
        most, peak = max(most, reserved), max(peak, sum(piece[0] for s in segments for piece in s if piece[1]))
    return peak, most, retries


@pytest.mark.parametrize("seed", range(40))
def test_any_trace_is_served_as_the_rules_say(seed: int) -> None:
    chance = random.Random(seed)
    trace, alive = list[tuple[int, int]](), dict[int, int]()
    for storage in range(1, 250):
        for _ in range(chance.choice((0, 1, 1, 2))):
            if alive:
                freed = chance.choice(list(alive))
                trace.append((freed, -alive.pop(freed)))
        alive[storage] = chance.choice((chance.randrange(1, MIB), chance.randrange(MIB, 64 * MIB), 3 * MIB, 24 * MIB))
        trace.append((storage, alive[storage]))
    allocator = CachingAllocator(400 * MIB)
    with suppress(OutOfMemoryError):
        allocator.run(trace)
    assert (allocator.peak_allocated, allocator.peak_reserved, allocator.retries) == literally(trace, 400 * MIB)
