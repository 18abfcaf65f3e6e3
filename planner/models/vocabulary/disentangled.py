"""Declares the operations that DeBERTa adds: attention with separate scores for contents and for distances."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Disentangled(Protocol[T]):
    """Declares operations on a batch without a padding mask, a table of distances, and scores of all token pairs."""

    def once(self, compute: Callable[[T], T], x: T) -> T:
        """Computes `compute(x)` of a tensor without samples, once whatever the micro-batch size."""
        ...

    def table(self, name: str, num_embeddings: int, width: int) -> T:
        """Returns the whole weight of an embedding, `[num_embeddings, width]`, without a lookup."""
        ...

    def padding_mask(self) -> T:
        """Makes a mask of ones in fp32 for all tokens, and returns it.

        Also makes int64 zeros for the tokens' types. The model's body makes both tensors and keeps them.
        """
        ...

    def hide_padding(self, x: T, mask: T) -> T:
        """Multiplies the rows of `x` by the mask, in the dtype of `x`."""
        ...

    def pair_mask(self, mask: T) -> T:
        """Computes for each pair of a sample's tokens whether both are there; the model's body keeps the result."""
        ...

    def distances(self) -> T:
        """Computes the bucket of the distance between each pair of positions; the model's body keeps the result."""
        ...

    def as_bool(self, mask: T) -> T:
        """Casts a mask to booleans."""
        ...

    def by_heads(self, x: T, heads: int) -> T:
        """Copies `x` into a layout in which one head follows another."""
        ...

    def repeat_positions(self, x: T) -> T:
        """Copies rows that were computed once, so that each sample has them."""
        ...

    def content_scores(self, query: T, key: T, heads: int) -> T:
        """Computes `query @ (key / scale).T`."""
        ...

    def position_scores(self, query: T, key: T, position_query: T, position_key: T, heads: int) -> T:
        """Computes the sum of content-to-position and position-to-content scores.

        Each of the two products is gathered by distance and divided by the scale before they are added.
        """
        ...

    def fill_masked(self, scores: T, mask: T) -> T:
        """Fills the scores of pairs that are masked out."""
        ...

    def pair_probabilities(self, scores: T) -> T:
        """Computes the softmax of scores over each token's row."""
        ...

    def weighted(self, probabilities: T, value: T, heads: int) -> T:
        """Computes `probabilities @ value`, with the result laid out token by token again."""
        ...


class DisentangledWidths:
    """Implements `Disentangled` on numbers of columns alone, for readers of parameters."""

    def embedding(self, name: str, num_embeddings: int, width: int) -> int:
        """Returns the width of an embedding's output; readers record its weight."""
        raise NotImplementedError

    def once(self, compute: Callable[[int], int], x: int) -> int:
        """Returns the width of `compute(x)`."""
        return compute(x)

    def table(self, name: str, num_embeddings: int, width: int) -> int:
        """Returns the width of the weight, which is recorded as an embedding's."""
        return self.embedding(name, num_embeddings, width)

    def padding_mask(self) -> int:
        """Returns 1, the columns of a mask; it and the distances have no parameters."""
        return 1

    distances = padding_mask

    def pair_mask(self, mask: int) -> int:
        """Returns the width of `mask`, as all operations with one argument do."""
        return mask

    as_bool = repeat_positions = pair_probabilities = pair_mask

    def hide_padding(self, x: int, mask: int) -> int:
        """Returns the width of `x`, whatever the second argument."""
        return x

    fill_masked = by_heads = hide_padding

    def content_scores(self, query: int, key: int, heads: int) -> int:
        """Returns the width of `query`."""
        return query

    def position_scores(self, query: int, key: int, position_query: int, position_key: int, heads: int) -> int:
        """Returns the width of `query`."""
        return query

    def weighted(self, probabilities: int, value: int, heads: int) -> int:
        """Returns the width of `value`."""
        return value
