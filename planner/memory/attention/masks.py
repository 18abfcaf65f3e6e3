"""Sizes the attention masks that a model makes before its blocks and that all blocks share."""

from __future__ import annotations

from typing import NamedTuple

from planner.libraries.flex_attention import block_mask_bytes
from planner.memory.attention.attention import masked
from planner.memory.autograd.ops import BOOL, FP32
from planner.memory.settings.dtypes import Dtypes
from planner.models import Architecture
from strategies import Attention, Batching


class Masks(NamedTuple):
    """Holds the bytes of all masks of a model, `fixed + per_sample x micro_batch_size`."""

    fixed: int = 0
    per_sample: int = 0
    saved: bool = False
    """Whether backward needs them."""


def masks_of(
    architecture: Architecture,
    attention: Attention,
    dtypes: Dtypes,
    sequence_length: int,
    batching: Batching = Batching.FULL,
    itemsize: int | None = None,
) -> Masks:
    """Computes the bytes of the masks that a model makes before its blocks.

    - Eager attention adds a mask of `[1, tokens, tokens]` per sample, in the dtype of the embeddings, for each kind of
      window (transformers, `create_causal_mask`).
    - SDPA gets `is_causal` instead, unless the sequence fills a window: then there is one mask of booleans for all
      samples. Padded and packed samples have a mask each, for each kind of window.
    - flex_attention has a block mask for every sample, flash-attn none.
    - Some models make other masks, as their modeling files say (`Masking`).

    Args:
        architecture: The model.
        attention: The attention implementation.
        dtypes: Bytes per element of the model's parameters.
        sequence_length: Tokens per sample.
        batching: How samples fill a sequence.
        itemsize: Bytes per element of what the embeddings return; None where they are in the model's other dtype.

    Returns:
        The bytes of all masks, and whether backward needs them.
    """
    eager, heads, itemsize = attention is Attention.EAGER, architecture.num_attention_heads, itemsize or dtypes.other
    scores = sequence_length**2
    if attention is Attention.FLEX:
        return Masks(0, architecture.num_masks * block_mask_bytes(sequence_length))
    if attention.is_flash:
        return Masks()
    match architecture.masking:
        case "alibi":
            # SDPA saves the mask itself, unless autocast casts it in each block.
            cast = dtypes.autocast not in (None, itemsize)
            cos_and_sin = 2 * sequence_length * (architecture.hidden_size // heads) * itemsize  # made and not used
            return Masks(cos_and_sin, heads * (scores + sequence_length) * itemsize, saved=not eager and not cast)
        case "beside_alibi":
            alibi = FP32 if dtypes.autocast else itemsize  # the dtype of the LayerNorm after the embeddings
            return Masks(0, scores * itemsize + heads * sequence_length * alibi)
        case "booleans":
            length = architecture.num_positions or sequence_length
            return Masks(heads * length * FP32, scores * BOOL, saved=True)
        case "always" if not eager:
            return Masks(scores * BOOL)
    if eager:
        return Masks(0, architecture.num_masks * scores * itemsize)
    if batching.facts.masks_samples:
        return Masks(0, architecture.num_masks * scores * BOOL)
    return Masks(scores * BOOL if masked(architecture.window, sequence_length) else 0)
