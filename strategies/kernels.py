"""The axis of kernels for norms, rotary embeddings and gated MLPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hardware import Cluster
from strategies.attention import Attention
from strategies.axis import Choice, axis_of
from strategies.checkpointing import Checkpointing
from strategies.finetuning import Full, Lora, LoraVariant, Method, Quantization
from strategies.precision import Precision
from strategies.update import Update

if TYPE_CHECKING:  # a strategy has kernels
    from strategies.strategy import Strategy


class Kernels(Choice):
    """`liger` is Trainer's `use_liger_kernel`; its loss is a choice of the axis of losses. `compile` is
    `block.compile()` for every block, as torchtitan and accelerate's `use_regional_compilation` do it."""

    EAGER = "eager", "transformers' own modules, operation by operation"
    LIGER = "liger", "liger-kernel's RMSNorm, SwiGLU or GeGLU and RoPE: backward in place"
    COMPILE = "compile", "torch.compile of each block: chains fused, pointwise results computed again in backward"


AXIS = axis_of(Kernels, phrase="{} kernels")


def obstacle(strategy: Strategy, cluster: Cluster) -> str | None:
    """What a strategy's kernels have no account for, or None."""
    s = strategy
    if s.kernels is not Kernels.COMPILE:
        return None
    flash = cluster.gpu.supports_flash_attention and s.precision.facts.matmul_dtype in ("fp16", "bf16")
    if s.attention is not Attention.SDPA or not flash:
        return "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"
    if s.precision is Precision.FP8_MIXED:
        return "compiled blocks have no account of products in fp8"
    if s.checkpointing.choice not in (Checkpointing.NONE, Checkpointing.FULL) or s.checkpointing.every > 1:
        return "compiled blocks have an account for checkpointing of all blocks as a whole, or of none"
    if s.update is Update.IN_BACKWARD:
        return "compiled blocks have no account of updates in backward: a block's gradients are there together"
    return _of_method(s.finetuning)


def _of_method(method: Method) -> str | None:
    if not isinstance(method, Full | Lora):
        return f"compiled blocks have no account of {method.method}, where parts of a block train"
    if isinstance(method, Full):
        return None
    if method.quantization is not Quantization.NONE:
        by = "bitsandbytes' layers" if method.quantization.by_bitsandbytes else "GPTQModel's layers"
        return f"compiled blocks have no account of {by}"
    if method.variant is not LoraVariant.LORA or method.dropout > 0:
        return "compiled blocks have an account for plain LoRA without dropout"
    return None
