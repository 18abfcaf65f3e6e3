"""Gradient accumulation: how many micro-batches make one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

DEFAULT_MAX_ACCUMULATION = 16
"""Accumulation costs almost no memory, so without a bound the effective batch has no maximum. 16 keeps one optimizer
step within a few dozen seconds on one GPU and is the largest value in common fine-tuning recipes (Alpaca-LoRA: 32,
axolotl's examples: 1 to 8, LLaMA-Factory's: 8)."""


class UpTo(NamedTuple):
    """As many accumulation steps as allowed, since each enlarges the effective batch."""

    max_steps: int = DEFAULT_MAX_ACCUMULATION


class Exactly(NamedTuple):
    """micro_batch_size x accumulation x ranks equals `global_batch_size`."""

    global_batch_size: int

    def factors(self, world_size: int) -> Iterator[tuple[int, int]]:
        """All (micro_batch_size, gradient_accumulation_steps) that make the global batch, largest micro-batch first."""
        per_rank, rest = divmod(self.global_batch_size, world_size)
        if rest == 0:
            small = [n for n in range(1, isqrt(per_rank) + 1) if per_rank % n == 0]
            for steps in sorted({*small, *(per_rank // n for n in small)}):
                yield per_rank // steps, steps


Accumulation = UpTo | Exactly
