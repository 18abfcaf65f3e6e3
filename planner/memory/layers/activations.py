"""Defines the activation functions that do more than save their input, unlike SiLU and the fused GELUs.

Each takes the operations `f` and the input `x`, and returns a tensor of the same shape.
"""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor


def _relu(f: Ops, x: Tensor) -> Tensor:
    """Computes `relu(x)`, which saves its output."""
    return f.unary(x, "relu", saves="output")


def _relu2(f: Ops, x: Tensor) -> Tensor:
    """Computes `torch.square(relu(x))` (transformers/activations.py, ReLUSquaredActivation).

    Autocast computes the square in fp32.
    """
    x = _relu(f, x)
    x = x if f.autocast is None else f.to(x, FP32, "relu in fp32")
    return f.unary(x, "square", saves="input", temporaries=2)


def _gelu_new(f: Ops, x: Tensor) -> Tensor:
    """Computes `0.5 * x * (1 + tanh(c * (x + 0.044715 * x ** 3)))` operation by operation.

    Autocast computes the power in fp32. Source: transformers/activations.py.
    """
    half = f.unary(x, "gelu half")
    base = x if f.autocast is None else f.to(x, FP32, "gelu input in fp32")
    cube = f.unary(base, "gelu cube", saves="input", temporaries=2)
    del base
    cube = f.unary(cube, "gelu scaled cube")
    inner = f.add(x, cube, "gelu sum")
    del cube
    inner = f.unary(inner, "gelu inner")
    inner = f.unary(inner, "gelu tanh", saves="output")
    outer = f.add_number(inner, "gelu one plus tanh")
    del inner
    return f.mul(half, outer, "gelu output")


def _gelu_fast(f: Ops, x: Tensor) -> Tensor:
    """Computes `0.5 * x * (1 + tanh(x * 0.7978845608 * (1 + 0.044715 * x * x)))` operation by operation.

    Source: transformers/activations.py, FastGELU.
    """
    half = f.unary(x, "gelu half")
    scaled = f.unary(x, "gelu scaled")
    square = f.add_number(f.mul(f.unary(x, "gelu scaled"), x, "gelu square"), "gelu one plus square")
    inner = f.mul(scaled, square, "gelu inner")
    del scaled, square
    inner = f.unary(inner, "gelu tanh", saves="output")
    outer = f.add_number(inner, "gelu one plus tanh")
    del inner
    return f.mul(half, outer, "gelu output")


def _bloom_gelu(f: Ops, x: Tensor) -> Tensor:
    """Computes `x * 0.5 * (1 + tanh(0.79788456 * x * (1 + 0.044715 * x * x)))`, an autograd function of BLOOM's own.

    The function saves its input. Four intermediates exist at once in forward, and five in the gradient, which the
    modeling file writes out as well (modeling_bloom.py).
    """
    size = x.per_sample * x.itemsize
    _intermediates = [f.tape.storage(0, size) for _ in range(4)]
    del _intermediates
    return f.unary(x, "gelu", saves="input", temporaries=4)


def _tanh(f: Ops, x: Tensor) -> Tensor:
    """Computes `tanh(x)`, which saves its output."""
    return f.unary(x, "tanh", saves="output")


COMPOSED: dict[str, Callable[[Ops, Tensor], Tensor]] = {
    "tanh": _tanh,
    "relu": _relu,
    "relu2": _relu2,
    "gelu_new": _gelu_new,
    "gelu_fast": _gelu_fast,
    "bloom_gelu": _bloom_gelu,
}
"""Activation functions by the name that a forward pass calls them by; every other one saves its input alone."""
