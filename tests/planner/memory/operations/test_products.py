"""Products of matrices allocate, save and move what torch's kernels do, also under autocast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from accounts_of import TOKENS, Account, account_of, once, ops
from operands import FLOPS, NARROW, WIDTH, W, X, Y, weight, x, z

from planner.memory.autograd.ops import FP32, HALF, Ops
from planner.memory.autograd.tape import Tensor


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
        # halves of the weight and then of x; both are saved, the weight's copy until autocast ends
        (
            lambda f: f.linear(x(f), weight(), None, NARROW, "y"),
            Account({"y input": X // 2, "y weight": W // 2}, (3 * X + W) // 2, 928, 4256, 3 * FLOPS),
        ),
        (
            lambda f: f.linear(x(f), weight(), once(NARROW), NARROW, "y"),
            Account({"y input": X // 2, "y weight": W // 2}, (3 * X + W) // 2 + 2 * NARROW, 938, 4346, 3 * FLOPS),
        ),
        (
            lambda f: f.linear(x(f), weight(trains=False), None, NARROW, "y"),
            Account({"y weight": W // 2}, (3 * X + W) // 2, 3 * X // 2, 3296, 2 * FLOPS),
        ),
        (
            lambda f: f.matmul(x(f), z(f, NARROW), TOKENS * NARROW, NARROW, 1000, "y"),
            Account({"y right": Y // 2, "y left": X // 2}, *2 * ((3 * X + Y) // 2,), 11 * (X + Y) // 2, 3000),
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


def test_autocast_makes_one_copy_of_an_input_that_is_a_leaf_for_all_products() -> None:
    """`cached_cast` takes it for a weight: a leaf in fp32 that requires a gradient (ATen/autocast_mode.cpp)."""
    saved = {}
    for is_leaf in (False, True):
        f = ops(autocast=HALF)
        given = x(f)
        assert given.variable is not None
        f.leaves = {given.variable} if is_leaf else set()
        _outputs = [f.linear(given, weight(), None, NARROW, name) for name in "qkv"]
        saved[is_leaf] = sorted(tensor.name for tensor in f.tape.saved if tensor.name.endswith("input"))
    assert saved == {False: ["k input", "q input", "v input"], True: ["q input"]}
