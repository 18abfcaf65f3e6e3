"""Computes the seconds that the GPU computes in a micro-batch."""

from __future__ import annotations

from typing import NamedTuple

from planner.memory import Work
from planner.time.rates import Rates


class GpuSeconds(NamedTuple):
    """Seconds of one stream, on which kernels run one after the other."""

    products: float
    """Matrix products and fused attention."""
    memory_bound: float
    """All other operations, the writing of products' results, and copies of activations to the host and back."""

    @property
    def total(self) -> float:
        """Returns the sum of both."""
        return self.products + self.memory_bound


def gpu_seconds(work: Work, rates: Rates, micro_batch_size: int) -> GpuSeconds:
    """Returns the seconds of one pass.

    A product takes its FLOPs at the rate that shapes of training sustain. While a tile is written, its multiprocessor
    multiplies nothing, so that the bytes of results are added. Everything else moves its bytes at memory bandwidth.

    Args:
        work: Work of one micro-batch, fixed and per sample.
        rates: What a rank can do per second.
        micro_batch_size: Samples per micro-batch.
    """
    products = micro_batch_size * (
        work.half_flops_per_sample / rates.half_flops
        + work.fp32_flops_per_sample / rates.fp32_flops
        + work.fp8_flops_per_sample / rates.fp8_flops
        + work.attention_forward / rates.attention_forward
        + work.attention_backward / rates.attention_backward
        + work.attention_fp32 / rates.attention_fp32
    )
    moved = micro_batch_size * (work.bytes_per_sample + work.written_per_sample)
    copies = micro_batch_size * work.host_bytes_per_sample / rates.host_link_bytes
    return GpuSeconds(products, (moved + work.fixed_bytes + work.written_fixed) / rates.bytes + copies)
