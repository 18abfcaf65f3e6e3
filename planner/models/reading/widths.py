"""Implements operations that have no parameters, on numbers of columns alone."""

from __future__ import annotations

from collections.abc import Sequence

from planner.models.vocabulary.disentangled import DisentangledWidths
from planner.models.vocabulary.pooling import PoolingMode


class Widths(DisentangledWidths):
    """Implements those operations of `Forward` that record nothing: a tensor is its width."""

    def activation(self, function: str, x: int) -> int:
        """Records nothing."""
        return x

    def add(self, a: int, b: int) -> int:
        """Records nothing, as all operations on two tensors of equal width."""
        return a

    mul = add_ = add

    def repeat(self, x: int, columns: int) -> int:
        """Records nothing; returns the columns that are filled."""
        return columns

    def times(self, x: int) -> int:
        """Records nothing, as all operations on one tensor."""
        return x

    cap = clamp = clamp_fp16 = sigmoid = times_positions = to_kept = times

    def dropout(self, x: int, probability: float) -> int:
        """Records nothing."""
        return x

    def first_token(self, x: int) -> int:
        """Records nothing."""
        return x

    def pooled(self, x: int, mode: PoolingMode) -> int:
        """Records nothing."""
        return x

    def zero_bias(self, query: int, key: int, heads: int) -> int:
        """Records nothing; returns the number of heads."""
        return heads

    def share(self, name: str, x: int, *, gathers: bool = True, returned: bool = False) -> None:
        """Records nothing."""
        pass

    def shared(self, name: str, width: int, *, last: bool) -> int:
        """Records nothing; returns the given width."""
        return width

    def keep(self, x: int) -> None:
        """Records nothing, as all operations that concern variables."""
        pass

    make_mask = keep_in_body = embeds = keep

    def leave_body(self) -> None:
        """Records nothing."""
        pass

    def slices(self, x: int, widths: Sequence[int], *, split: bool = False) -> list[int]:
        """Records nothing; returns the given widths."""
        return list(widths)

    def join(self, parts: Sequence[int], *, heads_first: bool = False) -> int:
        """Records nothing; returns the sum of the widths."""
        return sum(parts)

    def fill(self, first: int, shared: int, *, heads: int) -> int:
        """Records nothing; returns the width with the shared columns for each head."""
        return first + heads * shared

    def spread(self, x: int, scores: int) -> int:
        """Records nothing."""
        return x

    def add_experts(self, x: int, out: int, num_experts: int) -> int:
        """Records nothing."""
        return x

    def rope_table(self, x: int, head_dim: int, *, fp32: bool = False, repeated: bool = False) -> None:
        """Records nothing: the table is no parameter."""
        pass
