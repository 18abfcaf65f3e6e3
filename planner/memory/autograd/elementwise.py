"""Implements elementwise operations and reductions of rows."""

from __future__ import annotations

from typing import Literal

from planner.memory.autograd.casts import Casts
from planner.memory.autograd.graph import BOOL
from planner.memory.autograd.tape import Tensor


class Elementwise(Casts):
    """Computes functions of elements, sums, products, means and softmax."""

    def unary(
        self,
        x: Tensor,
        name: str,
        *,
        saves: Literal["input", "output", "nothing"] = "nothing",
        itemsize: int | None = None,
        temporaries: int = 0,
    ) -> Tensor:
        """Applies an elementwise function of one tensor.

        Args:
            x: The input.
            name: Name of the result among saved tensors.
            saves: What is saved for backward.
            itemsize: Bytes per element of the result if it differs, as in a product with a shared fp32 table.
            temporaries: Number of tensors as large as the result that backward makes before the gradient.
        """
        saved = [self.tape.save(x)] if saves == "input" and x.variable is not None else []
        out = self.tensor(x.per_sample, x.width, itemsize or x.itemsize, name, x)
        if x.variable is None:
            return out
        if saves == "output":
            saved.append(self.tape.save(out))
        return self.differentiate(out, self._targets(out, x), saved, temporaries=temporaries)

    def clone(self, x: Tensor, name: str) -> Tensor:
        """Copies a tensor; backward passes the gradient itself on."""
        return self.pass_on(self.tensor(x.per_sample, x.width, x.itemsize, name, x), (x,))

    def add_number(self, x: Tensor, name: str) -> Tensor:
        """Adds a number to a tensor; backward passes the gradient itself on, as it does for a copy."""
        return self.clone(x, name)

    def mul(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Multiplies elementwise, one perhaps broadcast over the other; saves each factor for the other's gradient."""
        big = a if a.per_sample >= b.per_sample else b
        saved = [self.tape.save(other) for one, other in ((a, b), (b, a)) if one.variable is not None]
        out = self.tensor(big.per_sample, big.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.differentiate(out, self._targets(out, a, b), saved)

    def mean(self, x: Tensor, name: str) -> Tensor:
        """Computes the means of rows; the gradient is expanded to the size of x and divided (`mean_backward`)."""
        out = self.tensor(x.per_sample // x.width, 1, x.itemsize, name, x)
        return self.differentiate(out, self._targets(x, x))

    def softmax(self, x: Tensor, itemsize: int) -> Tensor:
        """Computes a softmax with `itemsize` bytes per element, and saves its output.

        CUDA reads half precision and writes fp32 in one kernel, and in backward returns a gradient in half precision,
        after a temporary product of gradient and output
        (aten/src/ATen/native/cuda/SoftMax.cu, `softmax_backward_cuda_out`).
        """
        out = self.tensor(x.per_sample, x.width, itemsize, "softmax", x)
        saved = [self.tape.save(out)] if x.variable is not None else []
        return self.differentiate(out, self.own_targets(x), saved, temporaries=1)

    def broadcast(self, x: Tensor, per_sample: int, name: str) -> Tensor:
        """Returns a contiguous copy, repeated to `per_sample` elements per sample; its gradient is summed back."""
        out = self.tensor(per_sample, x.width, x.itemsize, name, x)
        return self.differentiate(out, self.own_targets(x))

    def cap(self, x: Tensor, name: str = "capped") -> Tensor:
        """Computes `tanh(x / cap) * cap`; tanh saves its output.

        Every result is assigned to the variable of the one before, so that `x` itself gives up its storage here.
        """
        quotient = self.unary(x, f"{name} quotient")
        x.storage = None
        x = self.unary(quotient, f"{name} tanh", saves="output")
        del quotient
        return self.unary(x, name)

    def dropout(self, x: Tensor, probability: float, name: str) -> Tensor:
        """Drops elements as `native_dropout`, which saves a mask of one byte each; returns `x` at probability 0."""
        if probability == 0.0:
            return x
        out = self.tensor(x.per_sample, x.width, x.itemsize, name, x)
        mask = Tensor(self.tape.storage(0, x.per_sample, f"{name} mask"), 0, x.per_sample, x.width, BOOL, None)
        saved = [self.tape.save(mask)] if x.variable is not None else []
        return self.differentiate(out, self._targets(out, x), saved)

    def add(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        """Adds two tensors, where one may be broadcast over the other, and saves nothing.

        Backward passes the gradient itself on to both terms, cast or summed where a term's dtype or shape differs.
        """
        out = self.tensor(max(a.per_sample, b.per_sample), a.width, max(a.itemsize, b.itemsize), name, a, b)
        return self.pass_on(out, (a, b))
