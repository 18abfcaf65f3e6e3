"""Says which choices are not modelled for compiled blocks."""

from __future__ import annotations

from hardware import Cluster
from strategies.attention import Attention
from strategies.checkpointing import Checkpointing
from strategies.finetuning.methods import Full, Lora, LoraVariant, Method
from strategies.finetuning.quantization import Quantization
from strategies.kernels import Kernels
from strategies.strategy import Strategy
from strategies.update import Update


def compilation(s: Strategy, cluster: Cluster) -> str | None:
    """Returns which choice is not modelled for compiled blocks, or None."""
    if s.kernels is not Kernels.COMPILE:
        return None
    flash = cluster.gpu.supports_flash_attention and s.precision.facts.matmul_dtype in ("fp16", "bf16")
    if s.attention is not Attention.SDPA or not flash:
        return "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"
    if s.precision.facts.linear_dtype == "fp8":
        return "compiled blocks have no account of products in fp8"
    if s.checkpointing.choice not in (Checkpointing.NONE, Checkpointing.FULL) or s.checkpointing.every > 1:
        return "compiled blocks have an account for checkpointing of all blocks as a whole, or of none"
    if s.update is Update.IN_BACKWARD:
        return "compiled blocks have no account of updates in backward: a block's gradients are there together"
    return _compiled_method(s.finetuning)


def _compiled_method(method: Method) -> str | None:
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
