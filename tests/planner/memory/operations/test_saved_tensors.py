"""The meter remembers the instants at which the most is alive, and the tape what is saved, kept and freed."""

from __future__ import annotations

from accounts_of import TOKENS, account_of, once, ops
from operands import NARROW, WIDTH, R, W, X, Y, weight, x, z

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.storage import Meter, Storage
from planner.memory.autograd.tape import Tape


def test_the_instant_before_something_is_freed_is_remembered() -> None:
    meter = Meter()
    first = Storage(meter, 10, 1, "first")
    second = Storage(meter, 20, 2, "second")
    first.mark_saved()
    first.mark_saved()  # once is enough
    del second
    del first
    assert meter.mark() == [(30, 3, 10, 1, 0), (0, 0, 0, 0, 0)]
    assert meter.mark() == [(0, 0, 0, 0, 0), (0, 0, 0, 0, 0)]
    assert (meter.fixed, meter.per_sample, meter.saved_fixed, meter.saved_per_sample) == (0, 0, 0, 0)


def test_nothing_is_remembered_where_nothing_has_grown() -> None:
    meter = Meter()
    storages = [Storage(meter, 1, 0, "") for _ in range(3)]
    storages.clear()
    assert meter.snapshots == [(3, 0, 0, 0, 0)]


def test_a_tensor_is_saved_once_and_its_instant_is_remembered() -> None:
    f = ops()
    a = x(f)
    f.tape.save(a)
    f.tape.save(a)
    assert [(s.name, s.per_sample, s.width, s.itemsize) for s in f.tape.saved] == [("x", X, WIDTH, FP32)]
    assert (f.tape.num_saves, f.tape.snapshots_at_last_save) == (2, 1)
    part = f.slices(a, [4, 12])[0]
    b = z(f)
    f.tape.save(f.slices(b, [4, 12])[0])
    assert [(s.name, s.width, s.itemsize) for s in f.tape.saved[1:]] == [("z", 0, 0)]  # a view of a part
    assert part.storage is a.storage
    assert f.tape.save(once(10)) is None


def test_what_a_checkpoint_drops_is_not_saved() -> None:
    f = Ops(Tape(keep_saved=False), autocast=None, sequence_length=TOKENS)
    out = f.unary(x(f), "y", saves="input")
    assert out.variable is not None
    assert (f.tape.saved, f.tape.num_saves, f.tape.meter.saved_per_sample) == ([], 1, 0)


def test_what_is_kept_stays_after_backward_and_counts_once() -> None:
    f = ops()
    a = x(f)
    f.tape.keep(a)
    f.tape.keep(a)
    f.tape.keep(once(10))
    out = f.unary(a, "y", saves="input")
    variable = out.variable
    assert variable is not None
    storage = a.storage
    assert storage is not None
    assert (f.tape.kept_bytes(), f.tape.kept_bytes(but=[storage])) == ((0, X), (0, 0))
    del a, out, storage
    f.tape.backward(variable, f.tape.storage(0, X))
    assert f.tape.meter.saved_per_sample == X
    assert [s.name for s in f.tape.saved] == ["x"]


def test_a_tape_that_is_forgotten_runs_nothing() -> None:
    f = ops()
    a = x(f)
    out = f.unary(a, "y", saves="input")
    assert a.variable is not None
    assert out.variable is not None
    f.tape.forget()
    f.tape.backward(out.variable, f.tape.storage(0, X))
    assert a.variable.gradient is None


def test_gradients_wait_until_backward_first_needs_what_was_saved() -> None:
    f = ops()
    a = x(f)
    out = f.unary(f.unary(a, "y", saves="input"), "z")
    variable = out.variable
    assert variable is not None
    del a, out
    f.tape.backward(variable, f.tape.storage(0, X))
    assert f.tape.before_first_use == (0, X)


def test_of_a_recomputed_block_saved_tensors_are_freed_before_gradients_are_handed_on() -> None:
    def most_bytes(recomputed: bool) -> int:
        f = Ops(Tape(recomputed=recomputed), autocast=None, sequence_length=TOKENS)
        return account_of(f, lambda f: f.mul(x(f), z(f, 1), "y")).backward

    assert most_bytes(False) - most_bytes(True) == R  # x and the number are gone when it is summed
    assert most_bytes(True) == 4 * X + R


def test_an_update_in_backward_takes_its_step_and_frees_the_gradient() -> None:
    f = Ops(Tape(steps={"w": 700}), autocast=None, sequence_length=TOKENS)
    trained = weight()
    assert trained.variable is not None
    trained.variable.step_bytes = 700
    found = account_of(f, lambda f: f.linear(x(f, grad=False), trained, None, NARROW, "y"))
    assert found.backward == max(X + Y + W, W + 700)
    assert trained.variable.gradient is None
    assert f.tape.meter.gradients == 0


def test_gradients_of_parameters_are_counted_apart() -> None:
    f = ops()
    account_of(f, lambda f: f.linear(x(f), weight(), once(NARROW), NARROW, "y"))
    assert f.tape.meter.gradients == W + NARROW * FP32
