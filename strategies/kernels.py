"""The axis of kernels for norms, rotary embeddings and gated MLPs."""

from __future__ import annotations

from hardware import GPU
from strategies.attention import Attention
from strategies.axis import Choice, axis_of
from strategies.finetuning import Finetuning, Method
from strategies.precision import Precision


class Kernels(Choice):
    """`liger` is Trainer's `use_liger_kernel`; its loss is a choice of the axis of losses. `compile` is
    `block.compile()` for every block, as torchtitan and accelerate's `use_regional_compilation` do it."""

    EAGER = "eager", "transformers' own modules, operation by operation"
    LIGER = "liger", "liger-kernel's RMSNorm, SwiGLU or GeGLU and RoPE: backward in place"
    COMPILE = "compile", "torch.compile of each block: chains fused, pointwise results computed again in backward"

    def missing_for(self, attention: Attention, precision: Precision, finetuning: Method, gpu: GPU) -> str | None:
        """What these kernels have no account for, or None."""
        if self is not Kernels.COMPILE:
            return None
        flash = gpu.supports_flash_attention and precision.facts.matmul_dtype in ("fp16", "bf16")
        if attention is not Attention.SDPA or not flash:
            return "compiled blocks have an account for SDPA's flash kernel alone: half precision, newer GPUs"
        if finetuning.method is Finetuning.QLORA:
            return "compiled blocks have no account of bitsandbytes' layers"
        return None


AXIS = axis_of(Kernels, phrase="{} kernels")
