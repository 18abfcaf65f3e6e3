"""Says which choices a GPU cannot run, and why."""

from __future__ import annotations

from hardware import GPU, Cluster
from strategies.allocator import Allocator
from strategies.attention import Attention
from strategies.kernels import Kernels
from strategies.loss import Loss
from strategies.strategy import Strategy

_NEEDS_TRITON = "which liger-kernel, flash-attn's loss, flex_attention, torch.compile and cut cross-entropy need"
_BY_TRITON = (
    Loss.LIGER_FUSED_LINEAR,
    Loss.LIGER_CROSS_ENTROPY,
    Loss.FLASH_CROSS_ENTROPY,
    Loss.COMPILED,
    Loss.CUT_CROSS_ENTROPY,
)


def dtype_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    """Returns which dtype a GPU does not compute in, or None."""
    gpu, facts = cluster.gpu, s.precision.facts
    supported = {
        "bf16": gpu.supports_bf16,
        "fp16": gpu.supports_fp16,
        "fp8": gpu.supports_fp8,
        "tf32": gpu.supports_tf32,
        "fp32": True,
    }
    needed = (facts.matmul_dtype, facts.linear_dtype or "fp32")
    missing = next((dtype for dtype in needed if not supported[dtype]), None)
    return f"{gpu.name} has no {missing}" if missing else None


def attention_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    """Returns why an attention kernel does not run, or None."""
    gpu, (half_only, capability) = cluster.gpu, s.attention.facts
    if half_only and s.precision.facts.matmul_dtype not in ("fp16", "bf16"):
        return f"{s.attention} computes in half precision only"
    if capability is not None:
        first, last = capability
        if gpu.vendor != "nvidia" or not first <= float(gpu.compute_capability) <= last:
            return f"{s.attention} has no CUDA kernels for {gpu.name}"
    return None


def triton_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    """Returns what needs Triton on a GPU without it, or None."""
    if cluster.gpu.supports_triton or not _uses_triton(s):
        return None
    return f"{cluster.gpu.name} has no Triton, {_NEEDS_TRITON}"


def _uses_triton(s: Strategy) -> bool:
    return s.kernels is not Kernels.EAGER or s.loss in _BY_TRITON or s.attention is Attention.FLEX


def allocator_runs_on(allocator: Allocator, gpu: GPU) -> bool:
    """Returns whether a GPU has the allocator.

    Expandable segments need virtual memory management (c10/cuda/CUDACachingAllocator.cpp): CUDA's, or since torch 2.12
    that of ROCm (pytorch/pytorch#177974).
    """
    return allocator is Allocator.NATIVE or gpu.vendor in ("nvidia", "amd")


def usual_allocator(gpu: GPU) -> Allocator:
    """Returns the allocator that plans take unless one is named: the one without fragmentation, where it is proven.

    With ROCm's, some processes hang (pytorch/pytorch#192259) or crash (#187343).
    """
    return Allocator.EXPANDABLE if gpu.vendor == "nvidia" else Allocator.NATIVE


def allocator_on_gpu(s: Strategy, cluster: Cluster) -> str | None:
    """Returns why a GPU lacks the allocator, or None."""
    return None if allocator_runs_on(s.allocator, cluster.gpu) else f"{cluster.gpu.name} has no expandable segments"
