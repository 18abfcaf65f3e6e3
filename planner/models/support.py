"""Says which kernels the libraries have for which models."""

from __future__ import annotations

from planner.libraries import cut_cross_entropy, earlier_transformers
from planner.libraries.flash_attn import LARGEST_HEAD
from planner.libraries.liger_kernel import patch_of
from planner.models.reading.inventory import Inventory
from strategies import Attention, Choice, Kernels, Loss

GATES = ("silu", "swish", "gelu_pytorch_tanh")
"""Activations that liger-kernel's gated MLPs compute (liger_kernel/transformers/swiglu.py, geglu.py)."""

COMPILED = ("gemma", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3")
"""Families whose block has been compared with what torch's partitioner saves for it."""


def unsupported(name: str, inventory: Inventory, choice: Choice) -> str | None:
    """Returns why no library has a kernel for a model, or None if one has.

    Args:
        name: The model's name in the text.
        inventory: The model's parameters.
        choice: The attention, kernels or loss that is asked for.
    """
    if isinstance(choice, Attention):
        return _of_attention(name, inventory, choice)
    if choice is Kernels.COMPILE:
        return _of_compilation(name, inventory)
    if choice is Loss.CUT_CROSS_ENTROPY:
        return _of_cut_cross_entropy(name, inventory.architecture.model_type)
    if isinstance(choice, Loss) and choice.is_earlier:
        return _of_earlier_loss(name, inventory.architecture.model_type, choice)
    patch = patch_of(inventory.architecture.model_type)
    if choice is Kernels.LIGER and not patch.kernels:
        return f"liger-kernel has no kernels for {name}, or none with an account here"
    if choice is Kernels.LIGER and getattr(inventory.architecture, "hidden_act", "") not in GATES:
        return f"liger-kernel computes SwiGLU or GeGLU, whatever the activation of {name} is"
    if choice is Loss.LIGER_FUSED_LINEAR and not patch.fused_loss:
        return f"liger-kernel has no fused linear cross-entropy for {name}"
    if choice is Loss.LIGER_CROSS_ENTROPY and not patch.cross_entropy:
        return f"liger-kernel does not replace the cross-entropy of {name}"
    return None


def _of_compilation(name: str, inventory: Inventory) -> str | None:
    if inventory.architecture.model_type not in COMPILED:
        return f"compiled blocks have an account for {', '.join(COMPILED)}, and none for that of {name}"
    if inventory.heads.dropout > 0:
        return f"compiled blocks have no account of dropout, and attention of {name} has {inventory.heads.dropout:g}"
    return None


def _of_cut_cross_entropy(name: str, model_type: str) -> str | None:
    if (lacks := cut_cross_entropy.WITHOUT_ACCOUNT.get(model_type)) is not None:
        return f"cut cross-entropy of {name} has no account here: {lacks}"
    if model_type not in cut_cross_entropy.FAMILIES:
        return f"cut cross-entropy has no forward for {name}"
    return None


def _of_earlier_loss(name: str, model_type: str, loss: Loss) -> str | None:
    casts = loss is Loss.TRANSFORMERS_4_45
    if model_type in (earlier_transformers.CASTS_LOGITS if casts else earlier_transformers.CALLS_LOSS):
        return None
    return f"{name} had no such loss in transformers {'4.45' if casts else '4.48'}, or was not there yet"


def _of_attention(name: str, inventory: Inventory, attention: Attention) -> str | None:
    model, heads = inventory.architecture, inventory.heads
    if heads.own and attention not in (Attention.EAGER, Attention.SDPA):
        return f"{name} has an attention of its own, for which {attention} has no account here"
    if attention in (Attention.SDPA, Attention.SDPA_EFFICIENT) and not model.supports_sdpa:
        return f"transformers runs {name} without SDPA"
    if attention.is_flash:
        if not model.supports_flash:
            return f"transformers runs {name} without flash-attn"
        if heads.width > LARGEST_HEAD:
            return f"flash-attn takes heads of up to {LARGEST_HEAD}, and those of {name} have {heads.width}"
        if heads.width % 8:  # `FlashAttnFunc` copies q, k and v into padded ones
            return f"heads of {name} have {heads.width}, which flash-attn would pad"
    if attention is Attention.FLEX:
        if not model.supports_flex:
            return f"transformers runs {name} without flex_attention"
        if heads.dropout > 0:  # integrations/flex_attention.py, `flex_attention_forward`
            return f"flex_attention has no dropout, and attention of {name} has {heads.dropout:g}"
    return None
