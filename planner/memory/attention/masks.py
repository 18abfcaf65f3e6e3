"""Masks that a model makes before its blocks, which all of them share."""

from __future__ import annotations

from typing import NamedTuple

from planner.libraries.flex_attention import block_mask_bytes
from planner.memory.attention.attention import masked
from planner.memory.autograd.ops import BOOL, FP32
from planner.memory.settings.dtypes import Dtypes
from planner.models import Architecture
from strategies import Attention, Batching


class Masks(NamedTuple):
    """Bytes of all masks: `fixed + per_sample x micro_batch_size`. `saved`: backward needs them."""

    fixed: int = 0
    per_sample: int = 0
    saved: bool = False


def masks_of(
    architecture: Architecture,
    attention: Attention,
    dtypes: Dtypes,
    sequence_length: int,
    batching: Batching = Batching.FULL,
) -> Masks:
    """Eager attention adds masks to the scores: `[1, sequence, sequence]` of one sample in the dtype of the embeddings
    (transformers, `create_causal_mask`). SDPA is told that it is causal instead, but for a window that the sequence
    fills: one of booleans, the same for all samples. Padded and packed samples have one each, for every kind of layer.
    flex_attention has masks of blocks for every sample, flash-attn none. The rest is as modeling files have it
    (`Masking`)."""
    eager, heads, itemsize = attention is Attention.EAGER, architecture.num_attention_heads, dtypes.other
    scores = sequence_length**2
    if attention is Attention.FLEX:
        return Masks(0, architecture.num_masks * block_mask_bytes(sequence_length))
    if attention in (Attention.FLASH_2, Attention.FLASH_3):
        return Masks()
    match architecture.masking:
        case "alibi":
            # SDPA saves it as it is, if autocast does not cast it in each block.
            cast = dtypes.autocast not in (None, itemsize)
            cos_and_sin = 2 * sequence_length * (architecture.hidden_size // heads) * itemsize  # made and not used
            return Masks(cos_and_sin, heads * (scores + sequence_length) * itemsize, saved=not eager and not cast)
        case "beside_alibi":
            alibi = FP32 if dtypes.autocast else itemsize  # that of the LayerNorm behind the embeddings
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
