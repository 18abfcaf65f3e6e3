"""Reads the shape of a linear layer; GPT-2's `Conv1D` stores its weight transposed."""

from __future__ import annotations

import torch
from transformers.pytorch_utils import Conv1D


def shape_of(layer: torch.nn.Linear | Conv1D) -> tuple[int, int]:
    """Returns (out_features, in_features) of a layer, whichever way its weight is stored."""
    rows, columns = layer.weight.shape
    return (columns, rows) if isinstance(layer, Conv1D) else (rows, columns)
