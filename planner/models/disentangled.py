"""The part of the vocabulary that DeBERTa adds: attention whose scores know contents and distances apart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

T = TypeVar("T")


class Disentangled(Protocol[T]):
    """Operations on a batch that comes without a mask, on a table of distances, and on scores of all pairs."""

    def once(self, compute: Callable[[T], T], x: T) -> T:
        """`compute(x)` of a tensor without samples, which is computed once whatever the micro-batch."""
        ...

    def table(self, name: str, num_embeddings: int, width: int) -> T:
        """The whole weight of an embedding, which nothing looks up."""
        ...

    def padding_mask(self) -> T:
        """Ones in fp32 for all tokens, and zeros of int64 for their types, which the model's body makes and keeps."""
        ...

    def hide_padding(self, x: T, mask: T) -> T:
        """Rows times the mask in their own dtype."""
        ...

    def pair_mask(self, mask: T) -> T:
        """For each pair of a sample's tokens whether both are there, kept by the body."""
        ...

    def distances(self) -> T:
        """The bucket of the distance of each pair of positions, kept by the body."""
        ...

    def as_bool(self, mask: T) -> T: ...
    def by_heads(self, x: T, heads: int) -> T:
        """A copy that is laid out head by head."""
        ...

    def repeat_positions(self, x: T) -> T:
        """Rows that have been computed once, copied for each sample."""
        ...

    def content_scores(self, query: T, key: T, heads: int) -> T:
        """`query @ (key / scale).T`"""
        ...

    def position_scores(self, query: T, key: T, position_query: T, position_key: T, heads: int) -> T:
        """Contents times positions and positions times contents, each gathered by distance, divided and summed."""
        ...

    def fill_masked(self, scores: T, mask: T) -> T: ...
    def pair_probabilities(self, scores: T) -> T: ...
    def weighted(self, probabilities: T, value: T, heads: int) -> T:
        """`probabilities @ value`, token by token again."""
        ...


class DisentangledWidths:
    """The same on widths alone, for who reads parameters."""

    def embedding(self, name: str, num_embeddings: int, width: int) -> int:
        raise NotImplementedError

    def once(self, compute: Callable[[int], int], x: int) -> int:
        return compute(x)

    def table(self, name: str, num_embeddings: int, width: int) -> int:
        return self.embedding(name, num_embeddings, width)

    def padding_mask(self) -> int:
        return 1

    distances = padding_mask

    def pair_mask(self, mask: int) -> int:
        return mask

    as_bool = repeat_positions = pair_probabilities = pair_mask

    def hide_padding(self, x: int, mask: int) -> int:
        return x

    fill_masked = by_heads = hide_padding

    def content_scores(self, query: int, key: int, heads: int) -> int:
        return query

    def position_scores(self, query: int, key: int, position_query: int, position_key: int, heads: int) -> int:
        return query

    def weighted(self, probabilities: int, value: int, heads: int) -> int:
        return value
