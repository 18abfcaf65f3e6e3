"""A policy keeps the first of so many operations of a kind, and a recomputation takes what was kept."""

from __future__ import annotations

from accounts_of import ops
from operands import x

from planner.memory.autograd.recompute import Keeping, PolicyKept, Taking
from planner.memory.autograd.tape import Tape
from strategies import Operation

SIZES = ((0, 100, "product"),)


def test_of_so_many_operations_of_a_kind_the_first_is_kept() -> None:
    tape = Tape()
    keeping = Keeping(tape, {Operation.MM: 2, Operation.SDPA: 1})
    kinds = [Operation.MM, Operation.ADDMM, Operation.MM, Operation.SDPA, Operation.MM, None, Operation.SDPA]
    for kind in kinds:
        made, runs = keeping.of(kind, SIZES)
        assert (len(made), runs) == (1, True)
    assert [entry is not None for entry in keeping.kept()] == [True, False, False, True, True, False, True]
    assert sum(storage.per_sample for storage in keeping.storages) == 400
    assert tape.meter.saved_per_sample == 400


def test_what_is_kept_waits_where_the_recomputation_stops_before_it() -> None:
    f = ops()
    keeping = Keeping(f.tape, {Operation.MM: 1})
    keeping.of(Operation.MM, SIZES)
    f.tape.save(x(f))
    keeping.of(Operation.MM, SIZES)
    assert keeping.kept() == [PolicyKept(SIZES, waits=False), PolicyKept(SIZES, waits=True)]


def test_a_recomputation_takes_what_was_kept_and_makes_the_rest() -> None:
    tape = Tape()
    taking = Taking(tape, [PolicyKept(SIZES, waits=False), None, PolicyKept(((7, 30, "other"),), waits=True)])
    assert (tape.meter.fixed, tape.meter.per_sample, tape.meter.saved_per_sample) == (7, 130, 130)
    first, runs = taking.of(Operation.MM, SIZES)
    assert (first[0].name, runs) == ("product", False)
    del first
    assert tape.meter.per_sample == 30
    made, runs = taking.of(Operation.MM, SIZES)
    assert (made[0].per_sample, made[0].saved, runs) == (100, False, True)
    last, runs = taking.of(Operation.MM, SIZES)
    assert (last[0].name, runs) == ("other", False)
    del last, made
    assert tape.meter.per_sample == 30  # it waits until backward is over
