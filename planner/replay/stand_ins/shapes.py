"""Shapes of linear layers, which GPT-2's `Conv1D` has the other way round."""

from __future__ import annotations

import torch
from transformers.pytorch_utils import Conv1D


def shape_of(layer: torch.nn.Linear | Conv1D) -> tuple[int, int]:
    """Outputs and inputs."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, Conv1D) else (rows, columns)
