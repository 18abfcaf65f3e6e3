"""Declares what a forward pass says of its tensors' lives: which are shared by parts, kept or dropped."""

from __future__ import annotations

from typing import Protocol, TypeVar

T = TypeVar("T")


class Lifetimes(Protocol[T]):
    """Declares how long tensors live: those that several parts share, and variables of the model's own forward."""

    def relative_bias(self, name: str, num_buckets: int, heads: int) -> T:
        """Looks up a bias for each pair of positions and each head in a table of `[num_buckets, heads]`."""
        ...

    def zero_bias(self, query: T, key: T, heads: int) -> T:
        """Makes a bias like that of `relative_bias`, but of zeros, for each pair of a query and a key, in their dtype.

        It requires a gradient where blocks are checkpointed.
        """
        ...

    def make_mask(self, x: T) -> None:
        """Makes the mask of a second stack of blocks in the dtype of `x`, where eager attention adds a causal mask."""
        ...

    def share(self, name: str, x: T, *, gathers: bool = True, returned: bool = False) -> None:
        """Makes `x` available to later parts under a name.

        Args:
            gathers: Whether there are later parts that read `x`; they leave their gradients of it to this part.
            returned: Whether the model returns `x` in addition to its logits.
        """
        ...

    def shared(self, name: str, width: int, *, last: bool) -> T:
        """Returns a tensor that an earlier part shares.

        Args:
            width: Columns of the tensor.
            last: Whether no later part reads it, so that backward begins to gather its gradient here.
        """
        ...

    def keep_in_body(self, x: T) -> None:
        """Keeps `x` in a variable of the model's body, or of a stack of blocks, until that returns."""
        ...

    def leave_body(self) -> None:
        """Marks that a stack of blocks has returned and another one follows, of the target's tokens."""
        ...

    def unused(self, name: str, size: int) -> None:
        """Declares a vector among the parameters that no operation reads."""
        ...

    def unread(self, name: str, x: T, out_features: int) -> None:
        """Declares a linear layer, with a bias, on whose result the loss does not depend."""
        ...

    def keep(self, x: T) -> None:
        """Keeps `x`, which the model's body has returned, until the model's own forward returns.

        A variable of that forward holds it, such as `outputs`.
        """
        ...
