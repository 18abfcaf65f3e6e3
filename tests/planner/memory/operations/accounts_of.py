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
    return observed(f, operation)[0]


def observed(f: Any, operation: Callable[[Any], Tensor]) -> tuple[Account, int]:
    """The account, and the bytes of all instants together: of those too that are below the most."""
    meter = f.tape.meter
    meter.mark()
    out = operation(f)
    fixed, per_sample, variable = out.fixed * out.itemsize, out.per_sample * out.itemsize, out.variable
    forward = meter.mark()
    saved: dict[str, int] = {}
    for tensor in f.tape.saved:
        saved[tensor.name] = saved.get(tensor.name, 0) + tensor.fixed + tensor.per_sample
    del out
    f.leave_autocast()
    between = meter.mark()
    if variable is not None:
        f.tape.backward(variable, f.tape.storage(fixed, per_sample))
    backward = meter.mark()
    cost = f.tape.cost
    moved = cost.bytes_per_sample + cost.fixed_bytes
    fused = cost.attention_forward + cost.attention_backward + cost.attention_fp32
    flops = sum(cost.flops_per_sample.values()) + fused
    account = Account(saved, most(forward), most(backward), moved, flops)
    return account, sum(once + each for once, each, *_ in (*forward, *between, *backward))


def ops(**given: Any) -> Ops:
    return Ops(Tape(), **{"autocast": None, "sequence_length": TOKENS, **given})


def once(elements: int, itemsize: int = FP32, *, trains: bool = True) -> Tensor:
    """A parameter, whose bytes are counted elsewhere."""
    return Tensor(None, elements, 0, elements, itemsize, Variable(parameter=True) if trains else None)
