"""Tensors that several parts of a model read, and the gradients of them that wait."""

from planner.memory.autograd.tape import Tape, Tensor, Variable
from planner.memory.settings.exchange import Exchange
from planner.memory.settings.parts import Part, joined
from planner.memory.settings.work import Work

ELEMENTS, FP32 = 100, 4


def shared_by_a_first_part() -> Exchange:
    tape, exchange = Tape(), Exchange()
    x = Tensor(tape.storage(0, ELEMENTS * FP32), 0, ELEMENTS, ELEMENTS, FP32, Variable())
    exchange.share("encoder output", x)
    return exchange


def test_only_the_last_reader_leaves_a_gradient_and_the_maker_takes_it() -> None:
    maker = shared_by_a_first_part()
    early, last = Exchange(maker.known), Exchange(maker.known)
    early.read(Tape(), "encoder output", last=False)
    last.read(Tape(), "encoder output", last=True)
    assert (early.leaves, last.leaves, maker.takes) == ((0, 0), (0, ELEMENTS * FP32), (0, ELEMENTS * FP32))


def test_a_reader_has_no_bytes_of_what_it_reads_and_says_that_backward_needs_it() -> None:
    maker, tape = shared_by_a_first_part(), Tape()
    reader = Exchange(maker.known)
    x = reader.read(tape, "encoder output", last=True)
    assert (tape.meter.per_sample, reader.saved_of_others()) == (0, frozenset())
    tape.save(x)
    assert (tape.meter.per_sample, reader.saved_of_others()) == (0, {"encoder output"})


def test_what_fsdp_casts_for_each_block_is_saved_by_the_block_and_not_by_its_maker() -> None:
    tape, exchange = Tape(), Exchange()
    mask = Tensor(tape.storage(0, ELEMENTS * FP32), 0, ELEMENTS, ELEMENTS, FP32, None)
    saved = []
    for cast in (False, True):
        exchange.share("mask", mask, cast=cast)
        part = Part((), (), (0, 0), (0, 0), (0, 0), 0, Work(), Work(), (), (), shares=exchange.not_saved())
        saved.append(joined([part], checkpointed=True)[0].saved)
    assert saved == [(0, ELEMENTS * FP32), (0, 0)]
