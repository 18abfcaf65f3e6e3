"""The batch of a step: ids and labels, and what comes with samples that are padded or packed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from planner.replay.structure.source import Source, inputs_of
from strategies import Batching


def batch_of(
    model: Any, source: Source, batching: Batching, sequence_length: int, device: str, size: int
) -> dict[str, Any]:
    """Keyword arguments of a forward pass on `size` samples."""
    batch = inputs_of(model, source, size, sequence_length, device)
    if batching is Batching.PADDED:  # transformers' `DataCollatorWithPadding`: the last token of each is padding
        batch["attention_mask"] = torch.ones((size, sequence_length), dtype=torch.int64, device=device)
        batch["attention_mask"][:, -1:] = 0
    if batching is Batching.PACKED:  # two samples in a sequence
        batch["position_ids"] = torch.arange(sequence_length, device=device).repeat(size, 1)
        batch["position_ids"] %= max(1, sequence_length // 2)
    return batch


@contextmanager
def positions_seen(batching: Batching) -> Iterator[None]:
    """transformers looks into the positions for several samples in a sequence; it cannot look into fake ones, and makes
    a mask for the case. Where samples are not packed, it is told so."""
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices

    def looked(positions: torch.Tensor) -> None:
        original(positions)

    if batching is not Batching.PACKED:
        masking_utils.find_packed_sequence_indices = looked  # type: ignore[assignment]  # it says Tensor | None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original
