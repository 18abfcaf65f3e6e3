"""Defines how samples of different lengths become sequences of one length."""

from __future__ import annotations

from typing import NamedTuple

from strategies.choice import Choice


class BatchingFacts(NamedTuple):
    """Says which inputs a collator passes to the model for each sequence.

    Attributes:
        masks_samples: Whether every sequence has its own mask, which SDPA's `is_causal` cannot express.
        numbers_samples: Whether every sequence has its own positions.
    """

    masks_samples: bool = False
    numbers_samples: bool = False


class Batching(Choice):
    """Says how a collator turns samples into sequences, and what it passes in addition to ids and labels."""

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
