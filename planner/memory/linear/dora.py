"""DoRA as PEFT computes it: the norms of W + BA anew in every forward, outside of autograd's graph."""

from __future__ import annotations

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.linear.lora import Adapter, Weight, low_rank
from planner.memory.settings.parameters import Parameters
from strategies import Operation


def dora(
    f: Parameters,
    name: str,
    x: Tensor,
    out: Tensor,
    adapter: Adapter,
    weight: Weight,
    bias: Tensor | None,
    *,
    drops: bool,
) -> Tensor:
    """`(m / |W + BA| - 1) * base + m / |W + BA| * B(A(x)) * scaling` (peft/tuners/lora/dora.py, DoraLinearLayer). The
    base is the layer's output less its bias or, behind a dropout, a second product with the whole weight in x's dtype.
    FLOPs of BA and of the norm, which no micro-batch multiplies, are left out; their bytes are not."""
    assert adapter.magnitude is not None
    elements = x.width * out.width
    graph = _change_of_weight(f, adapter, x.width, x.itemsize)
    whole = f.to(weight(), x.itemsize, f"{name} weight for dora")
    _norm(f, elements, x.itemsize)
    scale = _scale(f, name, adapter.magnitude, x.itemsize)
    change = low_rank(f, name, x, adapter)
    if drops:
        base = Ops.linear(f, x, whole, None, out.width, f"{name} dora base")
    else:
        base = out if bias is None else f.add(out, bias.constant(bias.itemsize), f"{name} less bias")
    less = f.mul(_less_one(f, scale, name), base, f"{name} dora base scaled")
    more = f.unary(f.mul(scale, change, f"{name} dora change"), f"{name} dora change scaled")
    result = f.add(less, more, f"{name} dora")
    del graph
    return result


def _change_of_weight(f: Parameters, adapter: Adapter, in_features: int, itemsize: int) -> list[Storage]:
    """`B(A(identity)).T` in x's dtype, and until DoRA's forward returns the graph that made it, which no backward
    enters: the identity that A has multiplied and what B has."""
    rank = adapter.down.fixed // in_features
    out_features = adapter.up.fixed // rank
    own, computed = adapter.down.itemsize, f.autocast or adapter.down.itemsize
    tape = f.tape
    identity = tape.storage(in_features**2 * own, 0)
    multiplied = identity if own == computed else tape.storage(in_features**2 * computed, 0)
    sizes = (in_features * rank * computed, "A of the identity"), (in_features * out_features * computed, "change")
    # A checkpointing policy sees every operator, those that no backward enters as well (torch/utils/checkpoint.py,
    # `_CachingTorchDispatchMode`).
    low, change = (f.results(Operation.MM, ((size, 0, name),), computed, 0)[0] for size, name in sizes)
    graph = [multiplied, low] if tape.keep_saved else []
    tape.cost.fixed_bytes += 2 * (in_features**2 * (own + computed) + in_features * out_features * computed)
    del identity, multiplied, low
    if itemsize != computed:
        change = tape.storage(in_features * out_features * itemsize, 0)
    return [*graph, change]


def _norm(f: Parameters, elements: int, itemsize: int) -> None:
    """The norms of W + BA by row: first BA times the scaling, then the sum."""
    scaled = f.tape.storage(elements * itemsize, 0)
    summed = f.tape.storage(elements * itemsize, 0)
    f.tape.cost.fixed_bytes += 6 * elements * itemsize
    del scaled, summed


def _scale(f: Parameters, name: str, magnitude: Tensor, itemsize: int) -> Tensor:
    """`m / |W + BA|`: saves the norm."""
    columns = magnitude.fixed
    norm = Tensor(f.tape.storage(columns * itemsize, 0, f"{name} norms of rows"), columns, 0, columns, itemsize, None)
    return f.differentiate(_vector(f, magnitude, f"{name} dora scale"), f.own_targets(magnitude), [f.tape.save(norm)])


def _less_one(f: Parameters, scale: Tensor, name: str) -> Tensor:
    return f.differentiate(_vector(f, scale, f"{name} dora scale less one"), f.own_targets(scale))


def _vector(f: Parameters, like: Tensor, name: str) -> Tensor:
    storage = f.tape.storage(like.fixed * like.itemsize, 0, name)
    return Tensor(storage, like.fixed, 0, like.width, like.itemsize, Variable())
