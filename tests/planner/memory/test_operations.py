"""Each operation allocates, saves and moves what torch's kernels do, in forward and in backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from accounts_of import TOKENS, Account, account_of, once, ops

from planner.memory.autograd.in_place import add_, clamp, scale_
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.recompute import Keeping, PolicyKept, Taking
from planner.memory.autograd.storage import Meter, Storage
from planner.memory.autograd.tape import Tape, Tensor
from strategies import Operation

WIDTH, NARROW = 16, 5
X, Y = TOKENS * WIDTH * FP32, TOKENS * NARROW * FP32
"""Bytes of a wide tensor and of a narrow one."""
R = TOKENS * FP32
"""Bytes of a number for each row."""


def x(f: Ops, width: int = WIDTH, itemsize: int = FP32, grad: bool = True, name: str = "x") -> Tensor:
    return f.input(width, itemsize, grad, name)


def z(f: Ops, width: int = WIDTH, itemsize: int = FP32, grad: bool = True) -> Tensor:
    return x(f, width, itemsize, grad, "z")


@pytest.mark.parametrize(
    ("operation", "account"),
    [
        # to make x moves X, a function 2 X, its backward 3 X: what is made, the gradient and what was saved
        (lambda f: f.unary(x(f), "y"), Account({}, 2 * X, 2 * X, 6 * X)),
        (lambda f: f.unary(x(f), "y", saves="input"), Account({"x": X}, 2 * X, 3 * X, 6 * X)),
        (lambda f: f.unary(x(f), "y", saves="output"), Account({"y": X}, 2 * X, 3 * X, 6 * X)),
        (lambda f: f.unary(x(f), "y", temporaries=2), Account({}, 2 * X, 4 * X, 6 * X)),
        (lambda f: f.unary(x(f), "y", saves="input", temporaries=1), Account({"x": X}, 2 * X, 4 * X, 6 * X)),
        (lambda f: f.unary(x(f, grad=False), "y", saves="input"), Account({}, 2 * X, 0, 3 * X)),
        (lambda f: f.unary(x(f, grad=False), "y", saves="output"), Account({}, 2 * X, 0, 3 * X)),
        # in fp32 from half; its gradient is made in fp32, and cast
        (lambda f: f.unary(x(f, itemsize=HALF), "y", itemsize=FP32), Account({}, 3 * X // 2, 5 * X // 2, 5 * X)),
        (lambda f: f.mul(x(f), z(f), "y"), Account({"z": X, "x": X}, 3 * X, 5 * X, 11 * X)),
        (lambda f: f.mul(x(f), z(f, grad=False), "y"), Account({"z": X}, 3 * X, 3 * X, 8 * X)),
        (lambda f: f.mul(x(f, grad=False), z(f, grad=False), "y"), Account({}, 3 * X, 0, 5 * X)),
        # a number for each row: its gradient is made as large as the result, and summed
        (lambda f: f.mul(x(f), z(f, 1), "y"), Account({"z": R, "x": X}, 2 * X + R, 4 * X + 2 * R, 9 * X + 2 * R)),
        (lambda f: f.mul(z(f, 1), x(f), "y"), Account({"x": X, "z": R}, 2 * X + R, 4 * X + 2 * R, 9 * X + 2 * R)),
        (
            lambda f: f.mul(x(f, itemsize=HALF), z(f), "y"),
            Account({"z": X, "x": X // 2}, 5 * X // 2, 5 * X, 10 * X),
        ),
        (lambda f: f.mean(x(f), "y"), Account({}, X + R, X + R, 5 * X + R)),
        # a product of gradient and output before the gradient
        (lambda f: f.softmax(x(f), FP32), Account({"softmax": X}, 2 * X, 4 * X, 6 * X)),
        (lambda f: f.softmax(x(f, itemsize=HALF), FP32), Account({"softmax": X}, 3 * X // 2, 7 * X // 2, 7 * X // 2)),
        (lambda f: f.broadcast(x(f), 3 * TOKENS * WIDTH, "y"), Account({}, 4 * X, 4 * X, 8 * X)),
        # quotient, tanh and product: each gives up the one before
        (lambda f: f.cap(x(f)), Account({"capped tanh": X}, 2 * X, 3 * X, 16 * X)),
        (lambda f: f.dropout(x(f), 0.1, "y"), Account({"y mask": X // 4}, 9 * X // 4, 9 * X // 4, 6 * X)),
        (lambda f: f.dropout(x(f, grad=False), 0.1, "y"), Account({}, 9 * X // 4, 0, 3 * X)),
        (lambda f: f.dropout(x(f), 0.0, "y"), Account({}, X, X, X)),
        # a sum hands its gradient on to both, and sums and casts it where they are smaller
        (lambda f: f.add(x(f), z(f), "y"), Account({}, 3 * X, X, 5 * X)),
        (lambda f: f.add(x(f), z(f, 1), "y"), Account({}, 2 * X + R, X, 3 * X + 2 * R)),
        (lambda f: f.add(x(f, itemsize=HALF), z(f), "y"), Account({}, 5 * X // 2, 3 * X // 2, 4 * X)),
        (lambda f: f.to(x(f), HALF, "y"), Account({}, 3 * X // 2, 3 * X // 2, 11 * X // 2)),
        (lambda f: f.to(x(f), FP32, "y"), Account({}, X, X, X)),
    ],
)
def test_elementwise_operations(operation: Callable[[Ops], Tensor], account: Account) -> None:
    assert account_of(ops(), operation) == account


@pytest.mark.parametrize(
    ("operation", "account"),
    [
        # joined columns hand views of their gradient on
        (lambda f: f.cat([x(f), z(f, NARROW)], "y"), Account({}, 2 * (X + Y), X + Y, 3 * (X + Y))),
        (
            lambda f: f.cat([x(f, itemsize=HALF), z(f, NARROW)], "y"),
            Account({}, 3 * X // 2 + 2 * Y, 3 * X // 2 + Y, 2 * X + 3 * Y),
        ),
        (lambda f: f.cat([x(f), once(10)], "y"), Account({}, 2 * X, X + 40, 3 * X)),
        # what a slice's gradient is written into is as large as x
        (lambda f: f.slices(x(f), [4, 12])[0], Account({}, X, X + X // 4, 3 * X)),
        (lambda f: f.slices(x(f), [4, 12])[1], Account({}, X, X + 3 * X // 4, 3 * X)),
        (lambda f: f.slices(x(f), [4, 12], split=True)[0], Account({}, X, X + X // 4, 3 * X)),
        (lambda f: f.slices(x(f, grad=False), [4, 12])[1], Account({}, X, 0, X)),
        (lambda f: f.first_token(x(f)), Account({}, X, X + X // 8, 4 * X)),
        (lambda f: f.first_token(x(f, grad=False)), Account({}, X, 0, X)),
        # slices of an empty tensor: each copy's backward copies the whole, clones its slice, and the second makes zeros
        (lambda f: f.fill_slices(x(f, grad=False), z(f, 4, grad=False), 3, "y"), Account({}, 3 * X, 0, 17 * X // 4)),
        (lambda f: f.fill_slices(x(f), z(f, 4), 3, "y"), Account({}, 3 * X, 21 * X // 4, 59 * X // 4)),
        (lambda f: f.fill_slices(x(f), z(f, 4), 1, "y"), Account({}, 5 * X // 2, 15 * X // 4, 45 * X // 4)),
    ],
)
def test_joining_and_slicing(operation: Callable[[Ops], Tensor], account: Account) -> None:
    assert account_of(ops(), operation) == account


def test_slices_have_a_gradient_of_zeros_each_and_parts_of_a_split_have_one_together() -> None:
    def sliced(f: Ops, *, split: bool) -> Tensor:
        first, second = f.slices(x(f), [8, 8], split=split)
        return f.add(first, second, "y")

    zeros, joined = (account_of(ops(), lambda f, split=split: sliced(f, split=split)) for split in (False, True))
    assert (zeros.backward, joined.backward) == (X // 2 + 2 * X, X // 2 + X)
    assert zeros.moved - joined.moved == 2 * X


@pytest.mark.parametrize(
    ("operation", "account"),
    [
        (lambda f: add_(f, x(f), z(f)), Account({}, 2 * X, X, 5 * X)),
        (lambda f: add_(f, x(f, grad=False), z(f)), Account({}, 2 * X, X, 5 * X)),
        (lambda f: add_(f, x(f), z(f, 1, grad=False)), Account({}, X + R, X, 3 * X + 2 * R)),
        (lambda f: add_(f, x(f, grad=False), z(f, grad=False)), Account({}, 2 * X, 0, 5 * X)),
        (lambda f: scale_(f, x(f)), Account({}, X, 2 * X, 6 * X)),
        (lambda f: scale_(f, x(f, grad=False)), Account({}, X, 0, 3 * X)),
        # comparisons with each limit are a byte an element
        (lambda f: clamp(f, x(f), "y"), Account({"x": X}, 2 * X, 3 * X + X // 2, 6 * X)),
        (lambda f: clamp(f, x(f), "y", below=False), Account({"x": X}, 2 * X, 3 * X + X // 4, 6 * X)),
        (lambda f: clamp(f, x(f, grad=False), "y"), Account({}, 2 * X, 0, 3 * X)),
    ],
)
def test_operations_in_place_and_clamps(operation: Callable[[Ops], Tensor], account: Account) -> None:
    assert account_of(ops(), operation) == account


W = WIDTH * NARROW * FP32
"""Bytes of a weight from wide to narrow."""
FLOPS = 2 * TOKENS * WIDTH * NARROW


def weight(*, trains: bool = True) -> Tensor:
    return once(WIDTH * NARROW, trains=trains)


@pytest.mark.parametrize(
    ("operation", "account"),
    [
        # x is saved for the weight's gradient; the weight is a parameter and takes no bytes here
        (lambda f: f.linear(x(f), weight(), None, NARROW, "y"), Account({"x": X}, X + Y, 2 * X + Y + W, X, 3 * FLOPS)),
        (
            lambda f: f.linear(x(f), weight(), once(NARROW), NARROW, "y"),
            Account({"x": X}, X + Y, 2 * X + Y + W + 20, X, 3 * FLOPS),
        ),
        (lambda f: f.linear(x(f), weight(trains=False), None, NARROW, "y"), Account({}, X + Y, X + Y, X, 2 * FLOPS)),
        (
            lambda f: f.linear(x(f, grad=False), weight(), None, NARROW, "y"),
            Account({"x": X}, X + Y, X + Y + W, X, 2 * FLOPS),
        ),
        (
            lambda f: f.linear(x(f, grad=False), weight(trains=False), None, NARROW, "y"),
            Account({}, X + Y, 0, X, FLOPS),
        ),
        (
            lambda f: f.matmul(x(f), z(f, NARROW), TOKENS * NARROW, NARROW, 1000, "y"),
            Account({"z": Y, "x": X}, X + 2 * Y, 2 * (X + Y) + Y, X + Y, 3000),
        ),
        (
            lambda f: f.matmul(x(f), z(f, NARROW, grad=False), TOKENS * NARROW, NARROW, 1000, "y"),
            Account({"z": Y}, X + 2 * Y, X + 2 * Y, X + Y, 2000),
        ),
    ],
)
def test_products(operation: Callable[[Ops], Tensor], account: Account) -> None:
    assert account_of(ops(), operation) == account


@pytest.mark.parametrize(
    ("operation", "account"),
    [
        # halves of x and of the weight; both are saved, the weight's copy until autocast ends
        (
            lambda f: f.linear(x(f), weight(), None, NARROW, "y"),
            Account({"y input": X // 2, "y weight": W // 2}, 3 * X // 2, 912, 4256, 3 * FLOPS),
        ),
        (
            lambda f: f.linear(x(f), weight(), once(NARROW), NARROW, "y"),
            Account({"y input": X // 2, "y weight": W // 2}, 3 * X // 2, 922, 4346, 3 * FLOPS),
        ),
        (
            lambda f: f.linear(x(f), weight(trains=False), None, NARROW, "y"),
            Account({"y weight": W // 2}, 3 * X // 2, 3 * X // 2, 3296, 2 * FLOPS),
        ),
        (
            lambda f: f.matmul(x(f), z(f, NARROW), TOKENS * NARROW, NARROW, 1000, "y"),
            Account({"y right": Y // 2, "y left": X // 2}, 3 * (X + Y) // 2, 3 * X // 2, 11 * (X + Y) // 2, 3000),
        ),
        (lambda f: f.mul(x(f), z(f), "y"), Account({"z": X, "x": X}, 3 * X, 5 * X, 11 * X)),
    ],
)
def test_products_under_autocast(operation: Callable[[Ops], Tensor], account: Account) -> None:
    assert account_of(ops(autocast=HALF), operation) == account


def test_products_count_by_the_size_of_their_operands() -> None:
    f = ops()
    f.linear(x(f), weight(), None, NARROW, "y")
    f.linear(x(f, itemsize=HALF), once(WIDTH * NARROW, HALF), None, NARROW, "y")
    assert f.tape.cost.flops_per_sample == {FP32: FLOPS, HALF: FLOPS, 1: 0}


def test_what_exists_once_for_all_samples_is_no_samples() -> None:
    def made(f: Ops) -> Tensor:
        return f.fixed(10, FP32, "y", once(10), saved=[f.fixed(3, 8, "s")])

    # 24 bytes are written, 40 read and 40 written, and 120 in backward
    assert account_of(ops(), made) == Account({"s": 24}, 64, 24 + 40 + 40, 24 + 80 + 120)
    f = ops()
    table = made(f)
    assert (table.fixed, table.per_sample, f.tape.cost.bytes_per_sample) == (10, 0, 0)
    assert f.fixed(10, FP32, "y", once(10, trains=False), saved=[table]).variable is None


def test_autocast_casts_a_weight_that_trains_once_and_others_at_every_use() -> None:
    f = ops(autocast=HALF)
    trained, frozen, half = weight(), weight(trains=False), once(10, HALF)
    assert f.autocast_weight(trained, "w") is f.autocast_weight(trained, "w")
    assert f.autocast_weight(frozen, "w") is not f.autocast_weight(frozen, "w")
    assert f.autocast_weight(half, "w") is half
    assert f.autocast_weight(trained, "w").itemsize == HALF
    plain = ops()
    assert plain.autocast_weight(trained, "w") is trained
    assert plain.autocast_input(half, "x") is half


def test_within_an_operation_autocast_is_off() -> None:
    f = ops(autocast=HALF)
    with f.without_autocast():
        assert f.autocast is None
        assert f.autocast_input(x(f), "x").itemsize == FP32
    assert f.autocast == HALF
    with pytest.raises(ZeroDivisionError), f.without_autocast():
        _ = 1 / 0
    assert f.autocast == HALF


# --- the meter and the tape ---


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


# --- selective checkpointing ---

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
