"""Operands of operations: inputs, weights, and their bytes."""

from __future__ import annotations

from accounts_of import TOKENS, once

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor

WIDTH, NARROW = 16, 5
X, Y = TOKENS * WIDTH * FP32, TOKENS * NARROW * FP32
"""Bytes of a wide tensor and of a narrow one."""

R = TOKENS * FP32
"""Bytes of a number for each row."""


def x(f: Ops, width: int = WIDTH, itemsize: int = FP32, grad: bool = True, name: str = "x") -> Tensor:
    return f.input(width, itemsize, grad, name)


def z(f: Ops, width: int = WIDTH, itemsize: int = FP32, grad: bool = True) -> Tensor:
    return x(f, width, itemsize, grad, "z")


W = WIDTH * NARROW * FP32
"""Bytes of a weight from wide to narrow."""

FLOPS = 2 * TOKENS * WIDTH * NARROW


def weight(*, trains: bool = True) -> Tensor:
    return once(WIDTH * NARROW, trains=trains)
