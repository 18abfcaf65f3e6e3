"""What liger-kernel (0.8.5) replaces in which model, and how it divides its work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Patch(NamedTuple):
    """Of one family."""

    fused_loss: bool = True
    """Whether it gets a forward without logits."""
    cross_entropy: bool = True
    """Whether the cross-entropy of its loss is replaced, and not one that its modeling file no longer calls."""
    kernels: bool = True
    """Whether norms, rotation and MLPs are replaced, all of them by kernels that have an account here."""
    norm_in_place: bool = True
    """Whether an RMSNorm overwrites the gradient of its output. Not where that belongs to the residual as well."""


# liger_kernel/transformers/monkey_patch.py
PATCHES: Mapping[str, Patch] = {
    "gemma": Patch(),
    "gemma2": Patch(norm_in_place=False),
    "gemma3_text": Patch(norm_in_place=False),
    "granite": Patch(fused_loss=False),
    "llama": Patch(),
    "mistral": Patch(cross_entropy=False),
    "mixtral": Patch(kernels=False),
    "nemotron": Patch(cross_entropy=False, kernels=False),
    "olmo2": Patch(norm_in_place=False),
    "phi3": Patch(),
    "qwen2": Patch(),
    "qwen3": Patch(),
    "qwen3_moe": Patch(kernels=False),
    "smollm3": Patch(),
}
"""By model_type. Experts, and the squared ReLU of Nemotron, have kernels without an account here."""

NOTHING = Patch(fused_loss=False, cross_entropy=False, kernels=False)


def patch_of(model_type: str) -> Patch:
    return PATCHES.get(model_type, NOTHING)


def chunk_tokens(tokens: int, hidden_size: int, vocab_size: int) -> int:
    """Tokens whose logits exist at once in the fused linear cross-entropy: the logits of a chunk are as many numbers as
    all hidden states, and the tokens are rounded up to a power of two (liger_kernel/ops/fused_linear_cross_entropy.py,
    `fused_linear_cross_entropy_forward`)."""
    wanted = -(-tokens // -(-vocab_size // hidden_size))
    return min(1 << (wanted - 1).bit_length(), tokens)


MULTIPROCESSORS = 132
"""Multiprocessors of an H100. RMSNorm's backward sums one row of the weight's gradient on each of a GPU's; the catalog
does not say how many a GPU has, and a row is small (ops/rms_norm.py, `rms_norm_backward`)."""
