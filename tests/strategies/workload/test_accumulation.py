"""Gradient accumulation: up to a bound, or exactly as much as a global batch needs."""

from __future__ import annotations

import pytest

from strategies import DEFAULT_MAX_ACCUMULATION, Exactly, UpTo


def test_up_to_16_micro_batches_accumulate_unless_told_otherwise() -> None:
    assert UpTo() == UpTo(max_steps=16)
    assert DEFAULT_MAX_ACCUMULATION == 16


@pytest.mark.parametrize(
    ("global_batch", "ranks", "factors"),
    [
        (1, 1, [(1, 1)]),
        (12, 1, [(12, 1), (6, 2), (4, 3), (3, 4), (2, 6), (1, 12)]),
        (12, 2, [(6, 1), (3, 2), (2, 3), (1, 6)]),
        (36, 1, [(36, 1), (18, 2), (12, 3), (9, 4), (6, 6), (4, 9), (3, 12), (2, 18), (1, 36)]),
        (28, 4, [(7, 1), (1, 7)]),
        (12, 5, []),
        (3, 4, []),
    ],
)
def test_a_global_batch_is_made_in_every_way_with_the_largest_micro_batch_first(
    global_batch: int, ranks: int, factors: list[tuple[int, int]]
) -> None:
    assert list(Exactly(global_batch).factors(ranks)) == factors
