"""Operations on elements allocate, save and move what torch's kernels do, in forward and in backward."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from accounts_of import TOKENS, Account, account_of, once, ops
from operands import NARROW, WIDTH, R, X, Y, x, z

from planner.memory.autograd.in_place import add_, clamp, scale_
from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tensor


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


def test_what_exists_once_for_all_samples_is_no_samples() -> None:
    def made(f: Ops) -> Tensor:
        return f.fixed(10, FP32, "y", once(10), saved=[f.fixed(3, 8, "s")])

    # 24 bytes are written, 40 read and 40 written, and 120 in backward
    assert account_of(ops(), made) == Account({"s": 24}, 64, 24 + 40 + 40, 24 + 80 + 120)
    f = ops()
    table = made(f)
    assert (table.fixed, table.per_sample, f.tape.cost.bytes_per_sample) == (10, 0, 0)
    assert f.fixed(10, FP32, "y", once(10, trains=False), saved=[table]).variable is None
