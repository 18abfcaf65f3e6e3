"""Computes model FLOPs utilization: how much of a GPU's peak goes into the model."""

from __future__ import annotations

from hardware import Cluster
from planner.memory import Work
from strategies import Strategy


def model_flops_utilization(
    work: Work, again: Work, cluster: Cluster, strategy: Strategy, samples: int, seconds: float
) -> float:
    """Returns the share of the GPU's peak that products and attention of the model take, without recomputation.

    Causal attention is counted with half of its scores. Products whose result nothing needs are not counted: those of
    gradients of frozen weights. The peak is that of the dtype in which the precision multiplies by weights.

    Args:
        work: Work of one micro-batch of one sample.
        again: The part of it that computes forward again.
        cluster: The GPUs.
        strategy: The strategy.
        samples: Samples of one GPU in a step.
        seconds: Seconds of the step.
    """
    peaks = cluster.gpu.peak_flops
    facts = strategy.precision.facts
    peak = peaks.of(facts.linear_dtype or facts.matmul_dtype) or peaks.fp32
    return samples * (_flops(work) - _flops(again)) / seconds / peak


def _flops(work: Work) -> int:
    products = work.half_flops_per_sample + work.fp32_flops_per_sample + work.fp8_flops_per_sample
    return products + work.attention_forward + work.attention_backward + work.attention_fp32
