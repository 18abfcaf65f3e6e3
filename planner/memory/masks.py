"""Masks that a model makes before its blocks, which all of them share."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from planner.memory.attention import masked
from planner.memory.ops import BOOL, FP32
from planner.models import Decoder
from strategies import Attention

if TYPE_CHECKING:
    from planner.memory.trace import Setting


class Masks(NamedTuple):
    """Bytes of all masks: `fixed + per_sample x micro_batch_size`. `saved`: backward needs them."""

    fixed: int
    per_sample: int
    saved: bool = False


def masks_of(architecture: Decoder, setting: Setting) -> Masks:
    """Eager attention adds masks to the scores: `[1, sequence, sequence]` of one sample in the dtype of the embeddings
    (transformers, `create_causal_mask`). SDPA is told that it is causal instead, but for a window that the sequence
    fills: one of booleans, the same for all samples. The rest is as modeling files have it (`Masking`)."""
    sequence, heads, itemsize = setting.sequence_length, architecture.num_attention_heads, setting.numerics.other
    scores, eager = sequence**2, setting.attention is Attention.EAGER
    match architecture.masking:
        case "alibi":
            # SDPA saves it as it is, if autocast does not cast it in each block.
            cast = setting.numerics.autocast not in (None, itemsize)
            unused = 2 * sequence * architecture.hidden_size // heads * itemsize  # rotary cos and sin
            return Masks(unused, heads * (scores + sequence) * itemsize, saved=not eager and not cast)
        case "beside_alibi":
            alibi = FP32 if setting.numerics.autocast else itemsize
            return Masks(0, scores * itemsize + heads * sequence * alibi)
        case "booleans":
            return Masks(heads * architecture.max_position_embeddings * FP32, scores * BOOL, saved=True)
        case "always" if not eager:
            return Masks(scores * BOOL, 0)
    if eager:
        return Masks(0, architecture.num_masks * scores * itemsize)
    return Masks(scores * BOOL if masked(architecture.window, sequence) else 0, 0)
