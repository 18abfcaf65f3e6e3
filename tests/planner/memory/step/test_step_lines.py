"""A step is composed of its parts: what each holds and saves for the next, and the largest instants of each moment."""

from __future__ import annotations

from typing import Any

import pytest

from planner.memory.autograd.storage import Snapshot
from planner.memory.memoized import counted, memoized
from planner.memory.settings.exchange import Shared
from planner.memory.settings.parts import Part, joined
from planner.memory.settings.snapshots import envelope, largest, raised
from planner.memory.settings.work import Work
from planner.memory.sharding.account import Unit
from planner.memory.sharding.backends import backend_of
from planner.memory.sharding.layout import Ends, Layout, MicroBatch, Turn
from planner.memory.step.evaluation import instants_of
from planner.memory.step.step import Line, Moment, compose, largest_lines, positions
from strategies import DataParallel, Fsdp1, Fsdp2, Replicated

NONE = (0, 0)


def snapshot(fixed: int, per_sample: int, saved: int = 0, saved_per_sample: int = 0, gradients: int = 0) -> Snapshot:
    return Snapshot(fixed, per_sample, saved, saved_per_sample, gradients)


def part(forward: Snapshot, backward: Snapshot, **known: Any) -> Part:
    said = {"held": NONE, "saved": NONE, "kept": NONE, "gradients": 0, **known}
    return Part(
        (forward,),
        (backward,),
        forward_work=Work(),
        backward_work=Work(),
        saved_tensors=(),
        recomputation=(),
        **said,
    )


def line(fixed: int, per_sample: int) -> Line:
    return Line(fixed, per_sample, 0, 0, 0, 0, 0)


# --- lines and snapshots ---


def test_a_line_is_a_number_of_bytes_at_every_micro_batch() -> None:
    assert [line(100, 7).at(size) for size in (0, 1, 3)] == [100, 107, 121]
    assert snapshot(100, 7).at(3) == 121


def test_only_lines_that_are_the_largest_somewhere_are_kept() -> None:
    steep, high, low, flat = line(0, 50), line(40, 20), line(20, 30), line(500, 0)
    assert largest_lines([low, high, steep, flat]) == (steep, high, flat)
    assert largest_lines([line(0, 50), line(10, 50), line(5, 50)]) == (line(10, 50),)
    assert largest_lines([steep, line(1, 49)]) == (steep,)  # equal at one sample, and less from then on
    assert largest_lines([]) == ()


def test_the_same_holds_for_snapshots() -> None:
    found = envelope([(20, 30, 1, 1, 1), (0, 50, 2, 2, 2), (500, 0, 3, 3, 3), (40, 20, 4, 4, 4)])
    assert found == (Snapshot(0, 50, 2, 2, 2), Snapshot(40, 20, 4, 4, 4), Snapshot(500, 0, 3, 3, 3))
    assert largest([(0, 50), (1, 49), (10, 50)]) == [(10, 50)]
    assert (largest([]), envelope([])) == ([], ())


def test_a_snapshot_is_raised_by_what_is_there_beside_it() -> None:
    assert raised((1, 2, 3, 4, 5), 10, 20) == (11, 22, 3, 4, 5)
    assert snapshot(1, 2, 3, 4, 5).above((10, 20)) == (11, 22, 13, 24, 5)


# --- places ---

BLOCK = part(snapshot(0, 10), snapshot(0, 20), held=(1, 2), saved=(3, 4), kept=(5, 6))
STEM, HEAD, LOSS = (part(snapshot(0, size), snapshot(0, size), held=(0, 1), saved=(0, 1)) for size in (1, 2, 3))
MODEL = [STEM, *[BLOCK] * 6, HEAD, LOSS]


@pytest.mark.parametrize(("reach", "places"), [(0, [0, 1, 6, 7, 8]), (1, [0, 1, 2, 5, 6, 7, 8])])
def test_peaks_are_at_the_ends_of_runs_of_equal_parts_and_within_their_reach(reach: int, places: list[int]) -> None:
    assert [place.place for place in positions(MODEL, reach)] == places
    assert [place.place for place in positions(MODEL, reach=3)] == list(range(9))


def test_a_part_finds_what_all_before_it_hold_and_save_and_those_behind_it_keep() -> None:
    found = {place.place: place for place in positions(MODEL, reach=1)}
    assert (found[0].held, found[0].saved, found[0].kept) == (NONE, NONE, (30, 36))
    assert (found[2].held, found[2].saved, found[2].kept) == ((1, 3), (3, 5), (20, 24))
    assert (found[8].held, found[8].saved, found[8].kept) == ((6, 14), (18, 26), NONE)
    assert found[8].part is LOSS


def test_what_a_part_drops_is_no_longer_held_when_it_runs() -> None:
    found = positions([STEM, BLOCK, HEAD._replace(drops=(1, 2)), LOSS], reach=0)
    assert [place.held for place in found] == [NONE, (0, 1), (0, 1), (0, 2)]


def test_gradients_of_shared_tensors_wait_from_their_last_reader_to_their_maker() -> None:
    maker, reader = STEM._replace(takes=(7, 70)), HEAD._replace(leaves=(7, 70))
    found = positions([maker, BLOCK, reader, LOSS], reach=0)
    assert [place.waiting for place in found] == [NONE, (7, 70), NONE, NONE]


# --- what parts share ---


def shared(**known: Any) -> Shared:
    said = {"needs_gradient": False, "returned": False, "in_body": False, "cast": False, **known}
    return Shared(5, 100, 100, 2, False, **said)


def test_a_tensor_that_others_need_in_backward_is_saved_by_its_maker() -> None:
    maker = STEM._replace(shares={"bias": shared()})
    assert joined([maker, BLOCK, LOSS], checkpointed=False)[0].saved == (0, 1)
    readers = [BLOCK._replace(reads=frozenset({"bias"}))]
    assert joined([maker, *readers, LOSS], checkpointed=False)[0].saved == (10, 201)
    assert joined([maker, BLOCK, LOSS], checkpointed=True)[0].saved == (10, 201)
    assert joined([maker, BLOCK, LOSS], checkpointed=True, offloaded={"bias"})[0].saved == (0, 1)
    cast = STEM._replace(shares={"bias": shared(cast=True)})
    assert joined([cast, BLOCK, LOSS], checkpointed=True)[0].saved == (0, 1)


def test_what_a_body_holds_is_dropped_when_it_returns_but_for_what_is_saved() -> None:
    stem = STEM._replace(body=(20, 400), shares={"bias": shared(in_body=True)})
    leaving = HEAD._replace(leaves_body=True)
    found = joined([stem, BLOCK._replace(body=(1, 1)), leaving, LOSS], checkpointed=False)
    assert [p.drops for p in found] == [NONE, NONE, (21, 401), NONE]
    saved = joined([stem, BLOCK._replace(body=(1, 1)), leaving, LOSS], checkpointed=True)
    assert saved[2].drops == (11, 201)


def test_what_the_forward_returns_is_copied_in_fp32_beside_the_logits() -> None:
    at = snapshot(1, 1_000)
    loss = LOSS._replace(returned=at)
    maker = STEM._replace(shares={"state": shared(returned=True)})
    alone = joined([maker, BLOCK, loss], checkpointed=False)
    assert alone[-1].returned == at._replace(per_sample=1_000 + 200 + 400)  # it and its copy
    saved = joined([maker, BLOCK._replace(reads=frozenset({"state"})), loss], checkpointed=False)
    assert saved[-1].returned == at._replace(per_sample=1_000 + 400)
    whole = STEM._replace(shares={"state": shared(returned=True)._replace(itemsize=4)})
    assert joined([whole, BLOCK, loss], checkpointed=False)[-1].returned == at._replace(per_sample=1_000 + 400)
    assert joined([maker, BLOCK, LOSS], checkpointed=False)[-1].returned is None


# --- moments ---


def layout(sharding: DataParallel = Replicated(), ranks: int = 1, exist: bool = False) -> Layout:  # noqa: B008
    units = [
        Unit(0, (), gathered, gradient, 2 * gradient) for gathered, gradient in ((100, 8), (40, 4), (60, 2), (0, 0))
    ]
    turn = Turn.LATER if exist else Turn.ONLY
    return backend_of(sharding).layout(units, sharding, ranks, Ends(), MicroBatch(turn))


PARTS = [
    part(snapshot(1, 10), snapshot(2, 20, 1, 2, 100), held=(10, 1), saved=(20, 2), input_bytes=5, output_bytes=6),
    part(snapshot(3, 30), snapshot(4, 40, 1, 2, 200), held=(30, 3), saved=(40, 4), kept=(7, 8), input_bytes=5),
    part(snapshot(5, 50), snapshot(6, 60, 1, 2, 300), held=(50, 5), saved=(60, 6), input_bytes=9, output_bytes=6),
    part(snapshot(7, 70), snapshot(8, 80, 1, 2, 0), returned=snapshot(0, 900, 3, 5)),
]


def test_forward_is_above_what_is_held_and_backward_above_what_is_saved() -> None:
    found = compose(positions(PARTS, reach=0), layout())
    assert found[Moment.FORWARD] == (Line(13, 31, 20, 2, 0, 0, 0),)
    # the head: 40 held and 5 of its own; then the loss, and what the forward returns above what is saved
    assert found[Moment.END_OF_FORWARD] == (Line(120, 912, 123, 17, 0, 0, 0),)
    # gradients of the parts behind it exist: 4 + 2 of head and block
    assert found[Moment.EMBEDDING_BACKWARD] == (Line(2 + 7 + 6, 28, 8, 10, 106, 0, 0),)
    assert found[Moment.BLOCK_BACKWARD] == (Line(20 + 4 + 2, 42, 21, 4, 202, 0, 0),)
    assert found[Moment.START_OF_BACKWARD] == (Line(128, 92, 121, 14, 0, 0, 0),)


def test_gradients_that_exist_take_those_of_a_part_in_place() -> None:
    found = compose(positions(PARTS, reach=0), layout(exist=True))
    # all 14 bytes of gradients exist throughout, and those that the part has made are among them
    assert found[Moment.FORWARD] == (Line(13 + 14, 31, 20, 2, 14, 0, 0),)
    assert found[Moment.BLOCK_BACKWARD] == (Line(20 + 4 + 14 - 200, 42, 21, 4, 14, 0, 0),)


def test_shards_are_gathered_before_a_part_runs_and_scattered_after_it() -> None:
    assert compose(positions(PARTS, reach=1), layout(Fsdp2(), 2)) == {
        # each part with its parameters and their buffer; the block's input beside two buffers is never the largest
        Moment.FORWARD: (Line(13 + 80, 31, 20, 2, 0, 40, 40), Line(1 + 200, 10, 0, 0, 0, 100, 100)),
        Moment.END_OF_FORWARD: (Line(120 + 120, 912, 123, 17, 0, 60, 60),),
        Moment.START_OF_BACKWARD: (Line(128 + 60, 92, 121, 14, 0, 60, 0),),
        # the stem is gathered ahead, the head's gradients of 4 bytes are scattered, its shard of 2 is there
        Moment.BLOCK_BACKWARD: (Line(20 + 4 + 40 + 104 + 2, 42, 21, 4, 202, 40, 104),),
        # at first the gradient of the stem's output above what the stem has saved, which is copied out of its buffer
        Moment.EMBEDDING_BACKWARD: (
            Line(7 + 2 + 100 + 100 + 8 + 6 - 100, 28, 8, 10, 106, 100, 8),
            Line(27 + 100 + 100 + 8 + 6, 16, 27, 10, 6, 100, 108),
        ),
    }


def test_reentrant_checkpoints_hold_hidden_states_while_flat_gradients_are_reduced() -> None:
    parts = [PARTS[0], PARTS[1]._replace(frame_bytes=1_000), *PARTS[2:]]

    def largest(sharding: DataParallel) -> int:
        found = compose(positions(parts, reach=1), layout(sharding, 2))
        return max(x.per_sample for x in found[Moment.BLOCK_BACKWARD])

    # 2 saved by the stem, the gradient of 5 of the block's input, and the frame; FSDP2 reduces when the frame is gone
    assert (largest(Fsdp1()), largest(Fsdp2())) == (2 + 5 + 1_000, 42)


def test_an_evaluation_saves_nothing_and_has_no_slope() -> None:
    lines = list(instants_of(PARTS, layout(), 10))
    # at last what the forward returns: the copy of the logits, beside what these parts save
    assert [line.fixed for line in lines] == [1 + 100, 13 + 310, 45 + 540, 97 + 790, 120 + 120 + 9_000]
    assert {line[1:] for line in lines} == {(0, 0, 0, 0, 0, 0)}
    sharded = list(instants_of(PARTS, layout(Fsdp2(), 2), 10))
    assert len(sharded) == 2 * len(PARTS) + 1  # each part once when it has been gathered
    assert sharded[1].fixed == 0 + 50 + sharded[1].unsharded + sharded[1].communication


# --- memory of methods ---


class Remembering:
    """Counts how often it computes."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    @memoized
    def sum(self, a: int, b: int) -> int:
        self.asked.append((a, b))
        return a + b

    @memoized
    def nothing(self) -> None:
        self.asked.append((0, 0))


def test_a_method_computes_each_result_once() -> None:
    one, other = Remembering(), Remembering()
    assert [one.sum(1, 2), one.sum(1, 2), one.sum(2, 1), other.sum(1, 2)] == [3, 3, 3, 3]
    assert (one.asked, other.asked) == ([(1, 2), (2, 1)], [(1, 2)])
    assert [one.nothing(), one.nothing()] == [None, None]
    assert one.asked == [(1, 2), (2, 1), (0, 0)]
    with pytest.raises(TypeError, match="sum remembers by position: b is given by name"):
        one.sum(1, b=2)


def test_equal_objects_that_are_not_the_same_are_counted_apart() -> None:
    first, second = [1], [1]
    assert counted([first, second, first, first]) == [(first, 3), (second, 1)]
    assert counted(()) == []
