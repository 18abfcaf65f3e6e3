"""Defines gradient accumulation: how many micro-batches make one optimizer step."""

from collections.abc import Iterator
from math import isqrt
from typing import NamedTuple

DEFAULT_MAX_ACCUMULATION = 16
"""Default bound of the accumulation steps. Accumulation costs almost no memory, so without a bound the effective batch
has no maximum. 16 keeps one optimizer step within a few dozen seconds on one GPU, and is in the range of common
fine-tuning recipes (Alpaca-LoRA: 32, axolotl's examples: 1 to 8, LLaMA-Factory's: 8)."""

USUAL_BATCH = 64
"""Least of the effective batches that fine-tuning usually has, 64 to 128 sequences: LIMA trains with 32 to 64, Alpaca,
Alpaca-LoRA and Vicuna with 128."""
LARGEST_USUAL_BATCH = 2 * USUAL_BATCH


def usual_batch(world_size: int) -> int:
    """Returns a usual effective batch that the ranks can make, in samples.

    It is the smallest of at least `USUAL_BATCH` that is a power of two for each rank, so that many micro-batches divide
    it: from 64 to 127, or one sample for each of more ranks.
    """
    per_rank = 1
    while per_rank * world_size < USUAL_BATCH:
        per_rank *= 2
    return per_rank * world_size


class UpTo(NamedTuple):
    """Asks for at most `max_steps` accumulation steps, with any micro-batch."""

    max_steps: int = DEFAULT_MAX_ACCUMULATION


class Steps(NamedTuple):
    """Asks for a number of accumulation steps, with any micro-batch."""

    steps: int


class Exactly(NamedTuple):
    """Asks for micro_batch_size x accumulation steps x ranks to equal `global_batch_size`, in samples.

    Attributes:
        global_batch_size: The effective batch.
        max_steps: Most accumulation steps; None for any number.
        steps: The number of accumulation steps, if that is asked for as well.
    """

    global_batch_size: int
    max_steps: int | None = None
    steps: int | None = None

    def factors(self, world_size: int) -> Iterator[tuple[int, int]]:
        """Yields all pairs (micro_batch_size, gradient_accumulation_steps) that make the global batch.

        The largest micro-batch comes first. There are none if the ranks do not divide the global batch.
        """
        per_rank, rest = divmod(self.global_batch_size, world_size)
        if rest:
            return
        small = [n for n in range(1, isqrt(per_rank) + 1) if per_rank % n == 0]
        for steps in sorted({*small, *(per_rank // n for n in small)}):
            if self.steps in (None, steps) and steps <= (self.max_steps or steps):
                yield per_rank // steps, steps


Accumulation = UpTo | Steps | Exactly
"""What bounds or fixes the accumulation steps."""
