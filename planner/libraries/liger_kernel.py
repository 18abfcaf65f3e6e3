"""Says what liger-kernel (version 0.8.5) replaces in each model, and how it divides its work."""

from collections.abc import Mapping
from typing import NamedTuple


class Patch(NamedTuple):
    """Says what liger-kernel replaces in the models of one family."""

    fused_loss: bool = True
    """Whether the model gets a forward that computes its loss without logits."""
    cross_entropy: bool = True
    """Whether the cross-entropy of its loss is replaced, rather than one that its modeling file no longer calls."""
    kernels: bool = True
    """Whether norms, rotary embeddings and MLPs are replaced, all by kernels that the memory model has rules for."""
    norm_in_place: bool = True
    """Whether an RMSNorm overwrites the gradient of its output; it must not if the residual has the same gradient."""


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
"""Patches by model_type. The memory model has no rules for liger's kernels of experts and Nemotron's squared ReLU."""

NOTHING = Patch(fused_loss=False, cross_entropy=False, kernels=False)
"""The patch of a model type that is not listed."""


def patch_of(model_type: str) -> Patch:
    """Returns what liger-kernel replaces in models of that type."""
    return PATCHES.get(model_type, NOTHING)


def chunk_tokens(tokens: int, hidden_size: int, vocab_size: int) -> int:
    """Returns the tokens whose logits exist at once in the fused linear cross-entropy.

    The logits of a chunk are about as many numbers as all hidden states; the tokens are rounded up to a power of two
    (liger_kernel/ops/fused_linear_cross_entropy.py, `fused_linear_cross_entropy_forward`).

    Args:
        tokens: All tokens of the micro-batch.
        hidden_size: Width of the hidden states.
        vocab_size: Number of logits per token.
    """
    wanted = -(-tokens // -(-vocab_size // hidden_size))
    return min(1 << (wanted - 1).bit_length(), tokens)


MULTIPROCESSORS = 132
"""Streaming multiprocessors of an H100, which stand for those of every GPU.

RMSNorm's backward sums one row of the weight's gradient on each (ops/rms_norm.py, `rms_norm_backward`). The catalog
does not say how many a GPU has, and a row is small.
"""
