"""How samples of different lengths become sequences of one length."""

from __future__ import annotations

from typing import NamedTuple

from strategies.axis import Choice


class BatchingFacts(NamedTuple):
    """`masks_samples`: every sequence has a mask of its own, of which SDPA's `is_causal` says nothing;
    `numbers_samples`: every sequence has positions of its own."""

    masks_samples: bool = False
    numbers_samples: bool = False


class Batching(Choice):
    """What a collator makes of samples, beside ids and labels."""

    facts: BatchingFacts

    FULL = "full", "every sequence is full: as long as it can be, or packed with positions that run on", BatchingFacts()
    PADDED = (
        "padded",
        "samples padded to the sequence length, with an attention mask",
        BatchingFacts(masks_samples=True),
    )
    PACKED = (
        "packed",
        "several samples in a sequence, with positions that begin anew",
        BatchingFacts(masks_samples=True, numbers_samples=True),
    )
