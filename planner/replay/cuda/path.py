"""Makes a step on fake CPU tensors allocate as on CUDA: replaces each function whose memory differs, with the reason.

Queries, keys and values are `[batch, heads, tokens, head_dim]`; keys and values can have fewer heads (grouped).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.nn import functional

from planner.libraries.sdpa import Selection
from planner.replay.cuda.attention import ATTENTION, attention, mask_of_samples, sdpa, window_mask
from planner.replay.cuda.kernels import cross_entropy, dropout, grouped_mm, in_fp32, softmax
from planner.replay.cuda.norms import layer_norm
from planner.replay.stand_ins import flash

_enabled = torch.is_autocast_enabled
"""torch's own function."""


def _is_autocast_enabled(device_type: str = "cpu") -> bool:
    """Replaces `torch.is_autocast_enabled`, which without an argument answers for CUDA."""
    return _enabled(device_type)


@contextmanager
def taken(selection: Selection) -> Iterator[None]:
    """Replaces what differs from CUDA in torch and transformers while the context lasts.

    Args:
        selection: Says which SDPA kernel CUDA would run for a call.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(ATTENTION, attention(selection))
    masks_samples = selection.batching.facts.masks_samples
    AttentionMaskInterface.register(ATTENTION, mask_of_samples if masks_samples else window_mask)
    flash.register()
    replacements: list[tuple[Any, str, Any]] = [
        (functional, "scaled_dot_product_attention", sdpa(selection)),
        (functional, "softmax", softmax),
        (torch.Tensor, "softmax", softmax),
        (functional, "dropout", dropout),
        (functional, "cross_entropy", cross_entropy),
        (functional, "layer_norm", layer_norm),
        (functional, "grouped_mm", grouped_mm),
        (torch, "is_autocast_enabled", _is_autocast_enabled),
        *(
            (owner, name, in_fp32(getattr(owner, name)))
            for owner in (torch, torch.Tensor)
            for name in ("pow", "rsqrt", "square")
        ),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in replacements]
    try:
        for owner, name, function in replacements:
            setattr(owner, name, function)
        yield
    finally:
        for owner, name, function in originals:
            setattr(owner, name, function)
