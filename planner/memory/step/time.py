"""Estimates step time by a simple roofline, an upper bound of speed that serves to compare plans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hardware import Cluster
from planner.memory.settings.parts import Work
from planner.memory.sharding.account import Unit
from strategies import DataParallel, Fsdp2, FullySharded, GradientSync, Precision, Zero
from strategies.sharding import ALL_RANKS

HOST_MEMORY_BYTES_PER_SECOND = 409_600_000_000
"""Bandwidth of a node's host memory: two sockets with eight channels of DDR4-3200, as in a DGX A100 (AMD EPYC 7742:
204.8 GB/s per socket)."""


class Rates(NamedTuple):
    """What one rank can do per second."""

    half_flops: float
    """FLOP/s of matrix products in half precision."""
    fp32_flops: float
    """FLOP/s of matrix products in fp32, or in TF32 where the precision is `tf32`."""
    bytes: float
    """Bytes per second of GPU memory."""
    link_bytes: float
    """Bytes per second in a collective over all ranks; across nodes where there are several."""
    node_link_bytes: float
    """Bytes per second between ranks of one node."""
    host_link_bytes: float
    """Bytes per second between GPU and host, in either direction."""
    host_bytes: float
    """Bytes per second of host memory, this rank's share."""
    fp8_flops: float
    """FLOP/s of matrix products in fp8; those in half precision where the GPU has no fp8 rate."""

    @classmethod
    def of(cls, cluster: Cluster, precision: Precision) -> Rates:
        """Returns the rates of one rank on a cluster.

        By default torch multiplies fp32 matrices without TF32 (`allow_tf32` is off); the precision `tf32` allows it.
        Where the GPU has no half-precision rate, or the precision does not use one, the fp32 rate stands for it.
        """
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
    """Bytes that one rank exchanges with others, and the work of its optimizer step."""

    per_micro_batch: int = 0
    """Bytes exchanged per micro-batch in collectives across nodes."""
    per_step: int = 0
    """Bytes exchanged per optimizer step in collectives across nodes."""
    optimizer_bytes: int = 0
    """Bytes of GPU memory that the optimizer step reads and writes."""
    within_node: int = 0
    """Bytes exchanged per micro-batch in collectives within a node."""
    with_host: int = 0
    """Bytes exchanged with the host per micro-batch, in the direction with more of them."""
    host_optimizer_bytes: int = 0
    """Bytes of host memory that an optimizer step on the host reads and writes."""
    step_with_host: int = 0
    """Bytes that the optimizer step moves between GPU and host."""
    optimizer_flops: int = 0
    """FLOPs of the optimizer step's matrix products, in half precision."""
    step_within_node: int = 0
    """Bytes exchanged per optimizer step in collectives within a node."""

    @classmethod
    def of(cls, units: Sequence[Unit], sharding: DataParallel, cluster: Cluster, state_bytes: int) -> Traffic:
        """Returns the traffic of one rank, without `step_with_host` and `optimizer_flops`, which the optimizer decides.

        DDP all-reduces gradients once per step, which moves each twice. The optimizer reads and writes trained
        parameters and states, and reads gradients.

        Args:
            units: One rank's parameters, by part.
            sharding: How the model is replicated or sharded.
            cluster: The cluster.
            state_bytes: Bytes of one rank's optimizer states.
        """
        gradients, world_size = sum(u.gradient_bytes for u in units), cluster.world_size
        optimizer = 3 * gradients + 2 * state_bytes
        if isinstance(sharding, FullySharded):
            return _sharded(units, sharding, cluster, optimizer)
        if isinstance(sharding, Zero):
            return _by_deepspeed(units, sharding, cluster, state_bytes)
        moved = 2 * _ring(gradients, world_size)
        if sharding.divides_states:  # each rank sends its updated parameters to the others
            moved, optimizer = moved + _ring(gradients, world_size), 3 * gradients // world_size + 2 * state_bytes
        return cls(per_step=moved, optimizer_bytes=optimizer)


def _ring(num_bytes: int, ranks: int) -> int:
    """Returns the bytes that each rank sends in a ring all-gather or reduce-scatter of a tensor: `n (r - 1) / r`.

    An all-reduce is one of each.
    """
    return num_bytes * (ranks - 1) // ranks


def _sharded(units: Sequence[Unit], sharding: FullySharded, cluster: Cluster, optimizer_bytes: int) -> Traffic:
    """Returns the traffic of FSDP1 or FSDP2 on one rank.

    In every micro-batch parameters are gathered in forward, and again in backward unless they stay gathered. Gradients
    are reduce-scattered, and their shards all-reduced over the replicas, in every micro-batch or once per step. With
    CPU offload the host sends what is gathered and receives what is scattered.
    """
    ranks, replicas = sharding.ranks(cluster.world_size), sharding.replicas(cluster.world_size)
    gathered, gradients = sum(u.gathered_bytes for u in units), sum(u.gathered_gradient_bytes for u in units)
    gathers, reduces = {True: 0, False: 0}, {True: 0, False: 0}  # within a node?
    near = ranks <= cluster.gpus_per_node
    gathers[near] += _ring(gathered, ranks)
    reduces[near] += _ring(gradients, ranks)
    if sharding.reshards:
        again = _resharded_over(sharding) or ranks
        gathers[again <= cluster.gpus_per_node] += _ring(gathered, again)
    if replicas > 1:
        reduces[cluster.nodes == 1] += 2 * _ring(gradients // ranks, replicas)
    if sharding.gradient_sync is GradientSync.EACH:
        traffic = Traffic(per_micro_batch=gathers[False] + reduces[False], within_node=gathers[True] + reduces[True])
    else:
        traffic = Traffic(
            per_micro_batch=gathers[False],
            within_node=gathers[True],
            per_step=reduces[False],
            step_within_node=reduces[True],
        )
    if not sharding.on_host:
        return traffic._replace(optimizer_bytes=optimizer_bytes)
    times = 2 if sharding.reshards and not _resharded_over(sharding) else 1
    sent = times * sum(u.stored_bytes - u.buffer_bytes for u in units)
    taken = sum(u.gradient_bytes for u in units)
    return traffic._replace(with_host=max(sent, taken), host_optimizer_bytes=optimizer_bytes)


def _by_deepspeed(units: Sequence[Unit], sharding: Zero, cluster: Cluster, state_bytes: int) -> Traffic:
    """Returns the traffic of DeepSpeed's ZeRO on one rank.

    Stages 1 and 2 all-reduce gradients, once per step or in every micro-batch (stage_1_and_2.py,
    `allreduce_and_scatter`), and gather the updated weights after the step. Stage 3 gathers weights in forward and in
    backward, and reduce-scatters gradients, in every micro-batch. An optimizer on the host gets this rank's gradients.
    """
    ranks = cluster.world_size
    weights, gradients = sum(u.gathered_bytes for u in units), sum(u.gradient_bytes for u in units)
    reduced = _ring(gradients, ranks)
    micro, step = {1: (0, 3 * reduced), 2: (2 * reduced, reduced), 3: (2 * _ring(weights, ranks) + reduced, 0)}[
        sharding.stage
    ]
    near = cluster.nodes == 1
    found = Traffic(within_node=micro, step_within_node=step) if near else Traffic(micro, step)
    optimizer = 2 * state_bytes + gradients // ranks
    if not sharding.steps_on_host:
        return found._replace(optimizer_bytes=optimizer)
    sent = 2 * weights // ranks if sharding.on_host else 0
    return found._replace(host_optimizer_bytes=optimizer, with_host=max(sent, gradients // ranks))


def _resharded_over(sharding: FullySharded) -> int:
    """Returns the ranks that parameters are resharded over after forward; FSDP1 has no choice: `ALL_RANKS`."""
    return sharding.reshard_size if isinstance(sharding, Fsdp2) else ALL_RANKS


def micro_batch_seconds(work: Work, traffic: Traffic, rates: Rates, micro_batch_size: int) -> float:
    """Returns the seconds of forward and backward of one micro-batch.

    Matrix products run at peak FLOP/s, everything else at memory bandwidth, and activations go to the host and back;
    these run one after the other, as on one stream. FSDP2's collectives and copies overlap with them and each other.

    Args:
        work: FLOPs and bytes of one micro-batch, fixed and per sample.
        traffic: Bytes that a rank exchanges.
        rates: What a rank can do per second.
        micro_batch_size: Samples per micro-batch.
    """
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
    """Returns the seconds of one optimizer step.

    What is reduced once per step, as DDP does, overlaps with the last backward, which is two thirds of its micro-batch;
    the rank waits for what is longer than that.

    Args:
        work: FLOPs and bytes of one micro-batch, fixed and per sample.
        traffic: Bytes that a rank exchanges, and the work of the optimizer step.
        rates: What a rank can do per second.
        micro_batch_size: Samples per micro-batch.
        steps: Micro-batches per optimizer step.
    """
    micro = micro_batch_seconds(work, traffic, rates, micro_batch_size)
    reducing = traffic.per_step / rates.link_bytes + traffic.step_within_node / rates.node_link_bytes
    waiting = max(0.0, reducing - micro * 2 / 3)
    gpu = traffic.optimizer_bytes / rates.bytes + traffic.optimizer_flops / rates.half_flops
    host = traffic.host_optimizer_bytes / rates.host_bytes + traffic.step_with_host / rates.host_link_bytes
    return steps * micro + waiting + gpu + host
