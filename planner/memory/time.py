"""A first roofline of step time: an upper bound of speed, for comparing plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory.state import Unit
from planner.memory.trace import Work
from strategies import Precision, Sharding


class Rates(NamedTuple):
    """What one rank can do per second."""

    half_flops: float
    fp32_flops: float
    bytes: float
    link_bytes: float

    @classmethod
    def of(cls, cluster: Cluster, precision: Precision) -> Rates:
        """torch multiplies fp32 matrices without TF32 unless told to (`allow_tf32` is off), which `tf32` does."""
        gpu = cluster.gpu
        dtype = precision.facts.matmul_dtype
        half = gpu.peak_flops.of(dtype) if dtype in ("fp16", "bf16") else None
        fp32 = (gpu.peak_flops.tf32 if dtype == "tf32" else None) or gpu.peak_flops.fp32
        return cls(half or fp32, fp32, gpu.memory_bandwidth_bytes_per_second, cluster.link_bytes_per_second)


class Traffic(NamedTuple):
    """Bytes that one rank exchanges, and those that its optimizer step moves."""

    per_micro_batch: int
    per_step: int
    optimizer_bytes: int

    @classmethod
    def of(cls, units: Sequence[Unit], sharding: Sharding, world_size: int, state_bytes: int) -> Traffic:
        """Ring collectives move (N-1)/N of a tensor per rank, an all-reduce twice that. FSDP gathers parameters in
        forward, with FULL_SHARD again in backward, and scatters gradients in every micro-batch; DDP reduces gradients
        once per step. The optimizer reads and writes trained parameters and states and reads gradients."""
        gradients = sum(u.gradient_bytes for u in units)
        optimizer = 3 * gradients + 2 * state_bytes
        if world_size == 1:
            return cls(0, 0, optimizer)
        if not sharding.shards:
            return cls(0, 2 * gradients * (world_size - 1) // world_size, optimizer)
        gathers = 2 if sharding is Sharding.FULL_SHARD else 1
        moved = gathers * sum(u.gathered_bytes for u in units) + sum(u.gathered_gradient_bytes for u in units)
        return cls(moved * (world_size - 1) // world_size, 0, optimizer)


def micro_batch_seconds(work: Work, traffic: Traffic, rates: Rates, micro_batch_size: int) -> float:
    """Matrix products at peak, everything else at memory bandwidth, one after the other as on one stream; FSDP's
    collectives overlap with both."""
    compute = micro_batch_size * (
        work.half_flops_per_sample / rates.half_flops
        + work.fp32_flops_per_sample / rates.fp32_flops
        + work.bytes_per_sample / rates.bytes
    )
    return max(compute + work.fixed_bytes / rates.bytes, traffic.per_micro_batch / rates.link_bytes)


def step_seconds(work: Work, traffic: Traffic, rates: Rates, micro_batch_size: int, steps: int) -> float:
    """One optimizer step of `steps` micro-batches. DDP's reduction overlaps with the last backward, two thirds of its
    micro-batch; what is longer than that is waited for."""
    micro = micro_batch_seconds(work, traffic, rates, micro_batch_size)
    waiting = max(0.0, traffic.per_step / rates.link_bytes - micro * 2 / 3)
    return steps * micro + waiting + traffic.optimizer_bytes / rates.bytes
