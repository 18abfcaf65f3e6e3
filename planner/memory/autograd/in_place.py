"""Implements operations that only a few models use: sums and products in place, and clamping."""

from __future__ import annotations

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable


def _in_place(x: Tensor, *, needs_gradient: bool) -> Tensor:
    """Returns the result of an operation that writes into the storage of `x`."""
    return Tensor(x.storage, x.fixed, x.per_sample, x.width, x.itemsize, Variable() if needs_gradient else None)


def add_(f: Ops, a: Tensor, b: Tensor) -> Tensor:
    """Adds `b` to `a` in place; backward passes the gradient itself on to both."""
    out = _in_place(a, needs_gradient=a.variable is not None or b.variable is not None)
    f.tape.cost.bytes_per_sample += 2 * a.per_sample * a.itemsize + b.per_sample * b.itemsize
    return f.pass_on(out, (a, b))


def scale_(f: Ops, x: Tensor) -> Tensor:
    """Multiplies `x` by a number in place; backward allocates a new tensor for its gradient."""
    out = _in_place(x, needs_gradient=x.variable is not None)
    f.tape.cost.bytes_per_sample += 2 * x.per_sample * x.itemsize
    return f.differentiate(out, f.own_targets(x))


def clamp(f: Ops, x: Tensor, name: str, *, below: bool = True) -> Tensor:
    """Limits `x` to a maximum and saves it: backward compares it with each limit, one byte per element and limit.

    Args:
        f: Operations on the tape that records this one.
        x: The tensor to clamp.
        name: Name of the result among saved tensors.
        below: Whether there is a minimum as well.

    Returns:
        A tensor of the shape and dtype of `x`.
    """
    saved = [f.tape.save(x)] if x.variable is not None else []
    out = f.tensor(x.per_sample, x.width, x.itemsize, name, x)
    if out.variable is None or x.variable is None:
        return out
    variable, size, compared = x.variable, out.per_sample * out.itemsize, out.per_sample * (1 + below)

    def backward(gradient: Storage) -> None:
        f.tape.cost.bytes_per_sample += 3 * size
        masks = f.tape.storage(0, compared)
        made = f.tape.storage(0, size)
        del masks
        f.tape.accumulate(variable, made)

    f.tape.record(out.variable, backward, *saved)
    return out
