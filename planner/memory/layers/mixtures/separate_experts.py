"""Implements mixtures whose experts are modules with linear layers of their own, which run one after the other.

Source: transformers 4.57, models/mixtral/modeling_mixtral.py, `MixtralSparseMoeBlock` and `MixtralBlockSparseTop2MLP`;
the mixtures of Qwen2, Qwen3 and OLMoE were written alike, and those of DeepSeek with sums in fp32. How many rows an
expert gets depends on the routing, which is taken to be even. What all experts save together does not depend on it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor, Variable
from planner.memory.layers.mixtures.experts import gather
from planner.models.architecture import INT64

Linear = Callable[[str, Tensor, int], Tensor]
"""Linear layer: a function of its name, its input and its output features."""


class Expert(NamedTuple):
    """Describes the linear layers of every expert.

    Attributes:
        linear: Runs one of them.
        activation: Function that is applied to the gate.
        gate: Name of the layer of the gate, as those of up and down within an expert.
        intermediate: Intermediate size of one expert.
    """

    linear: Linear
    activation: Callable[[Tensor], Tensor]
    gate: str
    up: str
    down: str
    intermediate: int

    def run(self, f: Ops, name: str, x: Tensor) -> Tensor:
        """Returns `down(activation(gate(x)) * up(x))` of the expert `name`."""
        activated = self.activation(self.linear(f"{name}.{self.gate}", x, self.intermediate))
        product = f.mul(activated, self.linear(f"{name}.{self.up}", x, self.intermediate), "expert product")
        del activated
        return self.linear(f"{name}.{self.down}", product, x.width)


def separate_experts(
    f: Ops, name: str, x: Tensor, scores: Tensor, num_experts: int, expert: Expert, sums: int
) -> Tensor:
    """Returns the weighted sum of the outputs of each token's experts, in the dtype of `x`.

    Args:
        f: Operations on the tape.
        name: Name of the list of experts.
        x: Hidden states, `[tokens, hidden]` per sample.
        scores: Router scores, `[tokens, top_k]` per sample.
        num_experts: Number of experts.
        expert: The layers of each.
        sums: Bytes per element of the scores, of the experts' outputs times these, and of their sums.
    """
    pairs, hidden = scores.per_sample, x.width
    scores = f.to(scores, sums, "router scores")
    out = f.tensor(x.per_sample, hidden, sums, "summed expert output")
    _mask = f.tape.storage(0, pairs * num_experts * INT64, "one-hot experts")
    for number in range(num_experts):
        rows = (pairs + number) // num_experts
        # What `torch.where` returns are two views of what `nonzero` has made.
        found = Tensor(f.tape.storage(0, rows * 2 * INT64, "tokens of an expert"), 0, rows * 2, 2, INT64, None)
        state = gather(f, x, rows * hidden, found, "expert input")
        output = expert.run(f, f"{name}.{number}", state)
        share = gather(f, scores, rows, found, "router scores of an expert")
        share.width = 1
        current = f.mul(output, share, "weighted expert output")
        del output, share
        out = _index_add_(f, out, current, found)
    return f.to(out, x.itemsize, "mixture output")


def _index_add_(f: Ops, out: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """Adds rows to `out` in its storage; backward hands the gradient on to `out`, and its rows to `x`.

    Autograd saves the indices and `x` itself, whose shape it expands the rows to (derivatives.yaml, `index_add`).
    """
    needs_gradient = out.variable is not None or x.variable is not None
    added = Tensor(out.storage, 0, out.per_sample, out.width, out.itemsize, Variable() if needs_gradient else None)
    size = x.per_sample * x.itemsize
    f.tape.cost.bytes_per_sample += 3 * size
    if added.variable is None:
        return added
    to_out, to_x = out.variable, x.variable

    def backward(gradient: Storage) -> None:
        if to_x is not None:
            f.tape.cost.bytes_per_sample += 2 * size
            f.tape.accumulate(to_x, f.tape.storage(0, size))
        if to_out is not None:
            f.tape.accumulate(to_out, gradient)

    saved = [f.tape.save(indices), f.tape.save(x)] if to_x is not None else []
    f.tape.record(added.variable, backward, *saved)
    return added
