"""A first roofline of step time: an upper bound of speed, for comparing plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory.settings.parts import Work
from planner.memory.sharding.state import Unit
from strategies import DataParallel, Precision, Sharded

HOST_MEMORY_BYTES_PER_SECOND = 409_600_000_000
"""Of a node: two sockets of eight channels of DDR4-3200, as in a DGX A100 (AMD EPYC 7742: 204.8 GB/s per socket)."""


class Rates(NamedTuple):
    """What one rank can do per second."""

    half_flops: float
    fp32_flops: float
    bytes: float
    link_bytes: float
    """Between ranks of several nodes, where there are several."""
    node_link_bytes: float
    """Between ranks of a node."""
    host_link_bytes: float
    """To the host and from it, either way."""
    host_bytes: float
    """Of the host's memory, its share."""
    fp8_flops: float

    @classmethod
    def of(cls, cluster: Cluster, precision: Precision) -> Rates:
        """torch multiplies fp32 matrices without TF32 unless told to (`allow_tf32` is off), which `tf32` does."""
        gpu = cluster.gpu
        dtype = precision.facts.matmul_dtype
        half = gpu.peak_flops.of(dtype) if dtype in ("fp16", "bf16") else None
        fp32 = (gpu.peak_flops.tf32 if dtype == "tf32" else None) or gpu.peak_flops.fp32
        return cls(
            half or fp32,
            fp32,
            gpu.memory_bandwidth_bytes_per_second,
            cluster.link_bytes_per_second,
            gpu.gpu_link.bytes_per_second,
            gpu.host_link.bytes_per_second,
            HOST_MEMORY_BYTES_PER_SECOND / cluster.gpus_per_node,
            gpu.peak_flops.fp8 or half or fp32,
        )


class Traffic(NamedTuple):
    """Bytes that one rank exchanges, and those that its optimizer step moves."""

    per_micro_batch: int = 0
    """With ranks of other nodes, where there are some."""
    per_step: int = 0
    optimizer_bytes: int = 0
    within_node: int = 0
    """Per micro-batch."""
    with_host: int = 0
    """Per micro-batch, the more of either direction."""
    host_optimizer_bytes: int = 0
    step_with_host: int = 0
    """Those that the optimizer step moves between GPU and host."""
    optimizer_flops: int = 0
    """Of the step's matrix products, in half precision."""

    @classmethod
    def of(cls, units: Sequence[Unit], sharding: DataParallel, cluster: Cluster, state_bytes: int) -> Traffic:
        """DDP reduces gradients once per step, which moves each twice. The optimizer reads and writes trained
        parameters and states and reads gradients. `units`, `state_bytes`: one rank's."""
        gradients, world_size = sum(u.gradient_bytes for u in units), cluster.world_size
        optimizer = 3 * gradients + 2 * state_bytes
        if isinstance(sharding, Sharded):
            return _sharded(units, sharding, cluster, optimizer)
        moved = 2 * _ring(gradients, world_size)
        if sharding.divides_states:  # each rank sends its parameters to the others
            moved, optimizer = moved + _ring(gradients, world_size), 3 * gradients // world_size + 2 * state_bytes
        return cls(per_step=moved, optimizer_bytes=optimizer)


def _ring(num_bytes: int, ranks: int) -> int:
    """Of a tensor in a collective of so many ranks; an all-reduce is two."""
    return num_bytes * (ranks - 1) // ranks


def _sharded(units: Sequence[Unit], sharding: Sharded, cluster: Cluster, optimizer_bytes: int) -> Traffic:
    """FSDP gathers parameters in forward, unless they stay again in backward, and scatters gradients, in every
    micro-batch; shards of gradients are reduced over the replicas. The host sends what is gathered and takes what is
    scattered."""
    ranks, replicas = sharding.ranks(cluster.world_size), sharding.replicas(cluster.world_size)
    gathered, gradients = sum(u.gathered_bytes for u in units), sum(u.gathered_gradient_bytes for u in units)
    moved = {True: 0, False: 0}  # within a node?
    moved[ranks <= cluster.gpus_per_node] += _ring(gathered + gradients, ranks)
    if sharding.reshards:
        again = sharding.reshard_size or ranks
        moved[again <= cluster.gpus_per_node] += _ring(gathered, again)
    if replicas > 1:
        moved[cluster.nodes == 1] += 2 * _ring(gradients // ranks, replicas)
    traffic = Traffic(per_micro_batch=moved[False], within_node=moved[True])
    if not sharding.on_host:
        return traffic._replace(optimizer_bytes=optimizer_bytes)
    gathers = 2 if sharding.reshards and not sharding.reshard_size else 1
    sent = gathers * sum(u.stored_bytes for u in units)
    taken = sum(u.gradient_bytes for u in units)
    return traffic._replace(with_host=max(sent, taken), host_optimizer_bytes=optimizer_bytes)


def micro_batch_seconds(work: Work, traffic: Traffic, rates: Rates, micro_batch_size: int) -> float:
    """Matrix products at peak, everything else at memory bandwidth, activations to the host and back, one after the
    other as on one stream; FSDP's collectives and copies overlap with all of it and with each other."""
    compute = micro_batch_size * (
        work.half_flops_per_sample / rates.half_flops
        + work.fp32_flops_per_sample / rates.fp32_flops
        + work.fp8_flops_per_sample / rates.fp8_flops
        + work.bytes_per_sample / rates.bytes
        + work.host_bytes_per_sample / rates.host_link_bytes
    )
    return max(
        compute + work.fixed_bytes / rates.bytes,
        traffic.per_micro_batch / rates.link_bytes,
        traffic.within_node / rates.node_link_bytes,
        traffic.with_host / rates.host_link_bytes,
    )


def step_seconds(work: Work, traffic: Traffic, rates: Rates, micro_batch_size: int, steps: int) -> float:
    """One optimizer step of `steps` micro-batches. DDP's reduction overlaps with the last backward, two thirds of its
    micro-batch; what is longer than that is waited for."""
    micro = micro_batch_seconds(work, traffic, rates, micro_batch_size)
    waiting = max(0.0, traffic.per_step / rates.link_bytes - micro * 2 / 3)
    gpu = traffic.optimizer_bytes / rates.bytes + traffic.optimizer_flops / rates.half_flops
    host = traffic.host_optimizer_bytes / rates.host_bytes + traffic.step_with_host / rates.host_link_bytes
    return steps * micro + waiting + gpu + host
