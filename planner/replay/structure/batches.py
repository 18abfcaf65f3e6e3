"""Makes the batch of a step: ids and labels, and what comes with samples that are padded or packed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from planner.replay.structure.inputs import Lengths, inputs_of
from planner.replay.structure.source import Source
from strategies import Batching


def batch_of(
    model: Any, source: Source, batching: Batching, lengths: Lengths, device: str, size: int
) -> dict[str, Any]:
    """Returns the keyword arguments of a training forward pass.

    Args:
        model: The model, PEFT's wrapper included.
        source: What the model was built from.
        batching: Padding adds an attention mask, packing adds position ids with two samples per sequence.
        lengths: Tokens of each sequence and target.
        device: Device of the tensors.
        size: Sequences, or samples, per forward pass.

    Raises:
        ModelCodeError: The inputs of the model are not known.
    """
    batch, (sequence_length, _) = inputs_of(model, source, size, lengths, device), lengths
    if batching is Batching.PADDED:  # transformers' `DataCollatorWithPadding`; each sample ends in padding
        batch["attention_mask"] = torch.ones((size, sequence_length), dtype=torch.int64, device=device)
        batch["attention_mask"][:, -1:] = 0
    if batching is Batching.PACKED:  # two samples in a sequence
        batch["position_ids"] = torch.arange(sequence_length, device=device).repeat(size, 1)
        batch["position_ids"] %= max(1, sequence_length // 2)
    return batch


@contextmanager
def positions_seen(batching: Batching) -> Iterator[None]:
    """Tells transformers, while the context lasts, that no samples are packed, unless they are.

    transformers looks at the values of position ids for several samples in a sequence. Fake tensors have no values, so
    it would make the mask of packed samples in any case.
    """
    from transformers import masking_utils

    original = masking_utils.find_packed_sequence_indices

    def looked(positions: torch.Tensor) -> None:
        """Runs the original for what it allocates, and finds no packed samples."""
        original(positions)

    if batching is not Batching.PACKED:
        masking_utils.find_packed_sequence_indices = looked  # type: ignore[assignment]  # it says Tensor | None
    try:
        yield
    finally:
        masking_utils.find_packed_sequence_indices = original
