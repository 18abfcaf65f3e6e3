"""Defines gradient accumulation: how many micro-batches make one optimizer step."""

from __future__ import annotations

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

DEFAULT_MAX_ACCUMULATION = 16
"""Default bound of the accumulation steps. Accumulation costs almost no memory, so without a bound the effective batch
has no maximum. 16 keeps one optimizer step within a few dozen seconds on one GPU, and is in the range of common
fine-tuning recipes (Alpaca-LoRA: 32, axolotl's examples: 1 to 8, LLaMA-Factory's: 8)."""


class UpTo(NamedTuple):
    """Asks for as many accumulation steps as `max_steps` allows, since each enlarges the effective batch."""

    max_steps: int = DEFAULT_MAX_ACCUMULATION


class Exactly(NamedTuple):
    """Asks for micro_batch_size x accumulation steps x ranks to equal `global_batch_size`, in samples."""

    global_batch_size: int

    def factors(self, world_size: int) -> Iterator[tuple[int, int]]:
        """Yields all pairs (micro_batch_size, gradient_accumulation_steps) that make the global batch.

        The largest micro-batch comes first. There are none if the ranks do not divide the global batch.
        """
        per_rank, rest = divmod(self.global_batch_size, world_size)
        if rest == 0:
            small = [n for n in range(1, isqrt(per_rank) + 1) if per_rank % n == 0]
            for steps in sorted({*small, *(per_rank // n for n in small)}):
                yield per_rank // steps, steps


Accumulation = UpTo | Exactly
"""What bounds or fixes the accumulation steps."""
