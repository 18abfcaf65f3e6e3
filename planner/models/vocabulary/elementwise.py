"""Declares the operations that compute each number by itself, and those that cut, join and copy columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")


class Elementwise(Protocol[T]):
    """Declares activations, sums, products and limits of hidden states, and views and copies of their columns."""

    def activation(self, function: str, x: T) -> T:
        """Applies an activation function, named as in a config.json."""
        ...

    def add(self, a: T, b: T) -> T:
        """Computes `a + b`."""
        ...

    def add_(self, a: T, b: T) -> T:
        """Computes `a += b`."""
        ...

    def repeat(self, x: T, columns: int) -> T:
        """Copies heads into a contiguous tensor, each as often as it takes to fill `columns`."""
        ...

    def clamp(self, x: T) -> T:
        """Clamps `x` between two numbers."""
        ...

    def mul(self, a: T, b: T) -> T:
        """Computes `a * b`."""
        ...

    def times(self, x: T) -> T:
        """Multiplies `x` by a number."""
        ...

    def times_positions(self, x: T) -> T:
        """Multiplies `x` by a number for each position, in fp32, and casts the product back."""
        ...

    def cap(self, x: T) -> T:
        """Soft-caps `x`: `tanh(x / cap) * cap`."""
        ...

    def dropout(self, x: T, probability: float) -> T:
        """Applies dropout; a probability of 0 leaves `x` as it is."""
        ...

    def clamp_fp16(self, x: T) -> T:
        """Clamps `x` to what fp16 can represent, where it is in fp16."""
        ...

    def to_kept(self, x: T) -> T:
        """Casts `x` to the dtype of a layer that is `kept` (`Forward.linear`)."""
        ...

    def slices(self, x: T, widths: Sequence[int], *, split: bool = False) -> list[T]:
        """Returns consecutive columns of `x` as views of these widths.

        Args:
            split: Whether one `split` or `chunk` makes all of them, so that backward joins their gradients at once.
        """
        ...

    def join(self, parts: Sequence[T], *, heads_first: bool = False) -> T:
        """Concatenates columns, those of each head by themselves if `heads_first`."""
        ...

    def fill(self, first: T, shared: T, *, heads: int) -> T:
        """Writes each head's columns of `first`, then the columns of `shared`, into a new tensor."""
        ...
