"""The account of one operation: what it saves, the most that lives in forward and in backward, what it moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tape, Tensor, Variable

TOKENS = 8


class Account(NamedTuple):
    """Bytes of one sample, and of what exists once for all."""

    saved: dict[str, int]
    forward: int
    """The most that lives in forward, inputs among it."""
    backward: int
    """The most that lives in backward, the gradient of the result among it."""
    moved: int
    """By both."""
    flops: int = 0


def most(snapshots: list[tuple[int, int, int, int, int]]) -> int:
    return max(fixed + per_sample for fixed, per_sample, *_ in snapshots)


def account_of(f: Any, operation: Callable[[Any], Tensor]) -> Account:
    """Of an operation that makes its own inputs; backward begins with a gradient as large as the result."""
    meter = f.tape.meter
    meter.mark()
    out = operation(f)
    fixed, per_sample, variable = out.fixed * out.itemsize, out.per_sample * out.itemsize, out.variable
    forward = most(meter.mark())
    saved = {name: once + each for name, once, each, *_ in f.tape.saved}
    assert len(saved) == len(f.tape.saved), "names of saved tensors are unique"
    del out
    f.leave_autocast()
    meter.mark()
    if variable is not None:
        f.tape.backward(variable, f.tape.storage(fixed, per_sample))
    cost = f.tape.cost
    moved = cost.bytes_per_sample + cost.fixed_bytes
    return Account(saved, forward, most(meter.mark()), moved, sum(cost.flops_per_sample.values()))


def ops(**given: Any) -> Ops:
    return Ops(Tape(), **{"autocast": None, "sequence_length": TOKENS, **given})


def once(elements: int, itemsize: int = FP32, *, trains: bool = True) -> Tensor:
    """A parameter, whose bytes are counted elsewhere."""
    return Tensor(None, elements, 0, elements, itemsize, Variable(parameter=True) if trains else None)
