"""The caching allocator's rules, on traces small enough to do by hand."""

from planner.replay.allocator import MIB, CachingAllocator


def after(*trace: tuple[int, int]) -> CachingAllocator:
    allocator = CachingAllocator()
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
