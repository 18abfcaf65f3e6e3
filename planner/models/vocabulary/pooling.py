"""Declares how a sequence becomes one vector."""

from __future__ import annotations

from typing import Literal, Protocol, TypeVar

T = TypeVar("T")

PoolingMode = Literal["mean", "cls"]
"""How sentence-transformers makes a sentence's embedding of its tokens: their mean, or that of the first one."""


class Pooling(Protocol[T]):
    """Declares views and reductions of a sequence's tokens."""

    def first_token(self, x: T) -> T:
        """Returns each sample's first row."""
        ...

    def pooled(self, x: T, mode: PoolingMode) -> T:
        """Returns the embedding of each sentence (sentence_transformers/sentence_transformer/modules/pooling.py)."""
        ...
