"""Implements an operation by a rule: what it allocates, what autograd saves, what its backward allocates, its cost.

The rules follow torch's derivatives.yaml and its CUDA kernels. Each module of this folder adds a kind of operations to
the one before: `graph`, `casts`, `elementwise`, `views`, and here the products.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext

from planner.memory.autograd.graph import BOOL, FP32, HALF, NARROW, Target
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.autograd.views import Views
from strategies import Operation

__all__ = ["BOOL", "FP32", "HALF", "Ops", "Target"]

SECOND = 1
"""The operand of a product whose gradient is made first, before those after it and then that of operand 0.

Gradients are made in the alphabetical order of the operands' names (torchgen/packaged/autograd/load_derivatives.py,
`create_differentiability_info`): `mat2` before `self` in `mm` and `bmm`, `mat1` and `mat2` before `self` in `addmm`.
"""


class Ops(Views):
    """Implements operations on the symbolic tensors of one tape."""

    by_zero3 = False
    """Whether linear layers run in DeepSpeed's function for ZeRO-3, which saves input and weight whatever trains, after
    the product (deepspeed/runtime/zero/linear.py, `LinearFunctionForZeroStage3`)."""

    def linear(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        out_features: int,
        name: str,
        *,
        written_out: bool = False,
    ) -> Tensor:
        """Computes `x @ weight.T + bias`, with autocast's casts of all three.

        It saves x for the weight's gradient and the weight for x's gradient; with a frozen weight it does not save x
        (derivatives.yaml, `mm` and `addmm`).

        Args:
            x: The input, which this function alone may hold.
            weight: The weight.
            bias: The bias, or None.
            out_features: Features of the output.
            name: Name of the layer.
            written_out: Whether an entered module writes the product out, since DeepSpeed replaces `linear` alone.
        """
        by_zero3 = self.by_zero3 and not written_out
        with nullcontext() if written_out else self.tape.module(weight.module):
            # Autocast casts the last argument first: its wrapper expands them in a call, which GCC evaluates from right
            # to left (ATen/autocast_mode.h, `WrapFunction_`); so backward casts the gradient of x before the weight's.
            cast = [self.autocast_weight(w, f"{name} weight") for w in (bias, weight) if w is not None]
            weights = cast[::-1]
            del cast
            x = self.autocast_input(x, f"{name} input")
            saved: list[Storage | None] = []
            if not by_zero3:
                saved += self._saved(x, weights[0])
            rows = x.per_sample // x.width
            flops, operation = 2 * x.per_sample * out_features, Operation.MM if bias is None else Operation.ADDMM
            out = self.product(
                rows * out_features,
                out_features,
                x.itemsize,
                f"{name} output",
                x,
                *weights,
                flops=flops,
                operation=operation,
            )
            if out.variable is None:
                return out
            if by_zero3:
                saved = [self.tape.save(x), self.tape.save(weights[0])]
            products = sum(operand.variable is not None for operand in (x, weights[0]))
            narrow = min(x.width, out_features) <= NARROW
            reads = (x.per_sample + products * out.per_sample) * x.itemsize if narrow else 0
            targets = self.own_targets(*weights[1:], x, weights[0])
            return self.differentiate(out, targets, saved, flops=flops * products, reads=reads, begins=SECOND)

    def _saved(self, x: Tensor, weight: Tensor) -> Iterator[Storage | None]:
        """Saves what the gradients of a linear layer need."""
        if weight.variable is not None:
            yield self.tape.save(x)
        if x.variable is not None:
            yield self.tape.save(weight)

    def matmul(self, a: Tensor, b: Tensor, out_per_sample: int, out_width: int, flops: int, name: str) -> Tensor:
        """Multiplies two batches of activations (`bmm`); each is saved for the other's gradient.

        Args:
            a: Left operand.
            b: Right operand.
            out_per_sample: Elements of the result per sample.
            out_width: Elements of the result's last dimension.
            flops: FLOPs per sample.
            name: Name of the result among saved tensors.
        """
        b = self.autocast_input(b, f"{name} right")  # before the left one, as in `linear`
        a = self.autocast_input(a, f"{name} left")
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.product(out_per_sample, out_width, a.itemsize, name, a, b, flops=flops, operation=Operation.BMM)
        return self.differentiate(out, self.own_targets(a, b), saved, flops=flops * len(saved), begins=SECOND)
