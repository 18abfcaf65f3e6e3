"""Implements DoRA as PEFT computes it: the norms of W + BA anew in every forward, outside autograd's graph."""

from __future__ import annotations

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.linear.lora import Adapter, low_rank
from planner.memory.linear.plain import Weight
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
    """Returns `(m / |W + BA| - 1) * base + m / |W + BA| * B(A(x)) * scaling`.

    The base is the layer's output less its bias or, after a dropout, a second product with the whole weight in the
    dtype of `x`. FLOPs of BA and of the norms, which do not grow with the micro-batch, are left out; the bytes that
    they move are counted. Source: peft/tuners/lora/dora.py, DoraLinearLayer.

    Args:
        f: Operations and parameters on the tape.
        name: Name of the linear layer.
        x: Input of the adapter, after its dropout.
        out: Output of the layer.
        adapter: A, B and the magnitudes m.
        weight: Makes the layer's whole weight W.
        bias: Bias of the layer, or None.
        drops: Whether the adapter has a dropout.
    """
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
    """Returns the storages of `B(A(identity)).T` and of the graph that made it.

    That graph lives until DoRA's forward returns, although no backward enters it. It keeps the identity that A has
    multiplied, and the input of B.

    Args:
        f: Operations and parameters on the tape.
        adapter: A and B.
        in_features: Input features of the layer.
        itemsize: Bytes per element of the layer's input, in whose dtype the result is.
    """
    rank = adapter.down.fixed // in_features
    out_features = adapter.up.fixed // rank
    own, computed = adapter.down.itemsize, f.autocast or adapter.down.itemsize
    tape = f.tape
    identity = tape.storage(in_features**2 * own, 0)
    multiplied = identity if own == computed else tape.storage(in_features**2 * computed, 0)
    sizes = (in_features * rank * computed, "A of the identity"), (in_features * out_features * computed, "change")
    # A checkpointing policy sees every operator, also those that no backward enters (torch/utils/checkpoint.py,
    # `_CachingTorchDispatchMode`).
    low, change = (f.made.of(Operation.MM, ((size, 0, name),))[0][0] for size, name in sizes)
    graph = [multiplied, low] if tape.keep_saved else []
    tape.cost.fixed_bytes += 2 * (in_features**2 * (own + computed) + in_features * out_features * computed)
    del identity, multiplied, low
    if itemsize != computed:
        change = tape.storage(in_features * out_features * itemsize, 0)
    return [*graph, change]


def _norm(f: Parameters, elements: int, itemsize: int) -> None:
    """Counts what the norms of the rows of W + BA allocate for a moment: BA times the scaling, then its sum with W.

    Args:
        f: Operations and parameters on the tape.
        elements: Elements of the weight.
        itemsize: Bytes per element in which the norms are computed.
    """
    scaled = f.tape.storage(elements * itemsize, 0)
    summed = f.tape.storage(elements * itemsize, 0)
    f.tape.cost.fixed_bytes += 6 * elements * itemsize
    del scaled, summed


def _scale(f: Parameters, name: str, magnitude: Tensor, itemsize: int) -> Tensor:
    """Returns `m / |W + BA|`, one number per output feature, in the wider dtype of the two; it saves the norms."""
    columns = magnitude.fixed
    norm = Tensor(f.tape.storage(columns * itemsize, 0, f"{name} norms of rows"), columns, 0, columns, itemsize, None)
    scale = _vector(f, magnitude, f"{name} dora scale", max(magnitude.itemsize, itemsize))
    return f.differentiate(scale, f.own_targets(magnitude), [f.tape.save(norm)])


def _less_one(f: Parameters, scale: Tensor, name: str) -> Tensor:
    """Returns `scale - 1`."""
    return f.differentiate(_vector(f, scale, f"{name} dora scale less one", scale.itemsize), f.own_targets(scale))


def _vector(f: Parameters, like: Tensor, name: str, itemsize: int) -> Tensor:
    """Returns a new vector of the shape of `like` that needs a gradient, with `itemsize` bytes per element."""
    storage = f.tape.storage(like.fixed * itemsize, 0, name)
    return Tensor(storage, like.fixed, 0, like.width, itemsize, Variable())
