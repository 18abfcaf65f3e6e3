"""Computes what one rank of a cluster does per second, as training reaches it."""

import math
from functools import cache
from typing import NamedTuple

from hardware import GPU, Cluster, Sustained
from hardware.sustained import ATTENTION_FP32, HOST_LINK, NETWORK, NETWORK_BY_TCP, PCIE_BY_HOST, PCIE_PAIR
from strategies import Attention, Strategy

HOST_MEMORY_BYTES_PER_SECOND = 409_600_000_000
"""Bandwidth of a node's host memory: two sockets with eight channels of DDR4-3200, as in a DGX A100 (AMD EPYC 7742:
204.8 GB/s per socket)."""


class Rates(NamedTuple):
    """What one rank can do per second."""

    half_flops: float
    """FLOP/s of matrix products in half precision."""
    fp32_flops: float
    """FLOP/s of matrix products in fp32, or in TF32 where the precision is `tf32`."""
    fp8_flops: float
    """FLOP/s of matrix products in fp8; those in half precision where the GPU has no fp8 rate."""
    attention_forward: float
    """FLOP/s of fused attention in half precision."""
    attention_backward: float
    attention_fp32: float
    """FLOP/s of fused attention in fp32, forward and backward."""
    bytes: float
    """Bytes per second of GPU memory."""
    node_link_bytes: float
    """Bytes per second of a rank in a collective within a node."""
    network_bytes: float
    """Bytes per second of a rank in a collective over all GPUs of several nodes."""
    peer_bytes: float
    """Bytes per second of a rank in a collective with its peers of other nodes."""
    host_link_bytes: float
    """Bytes per second between GPU and host, in either direction."""
    host_bytes: float
    """Bytes per second of host memory, this rank's share."""
    launch: float
    """Seconds that the host takes to launch a kernel."""

    @classmethod
    def of(cls, cluster: Cluster, strategy: Strategy, kernel: str = "") -> "Rates":
        """Returns the rates of one rank on a cluster.

        Args:
            cluster: The cluster.
            strategy: The strategy.
            kernel: Name of the kernel that computes attention; that of the strategy if empty.
        """
        kernel = kernel or _kernel(strategy.attention, cluster)
        return of_cluster(cluster, strategy.precision.facts.matmul_dtype, kernel)


@cache
def of_cluster(cluster: Cluster, dtype: str, kernel: str) -> Rates:
    """Returns the rates of one rank.

    By default torch multiplies fp32 matrices without TF32 (`allow_tf32` is off); the precision `tf32` allows it. Where
    the GPU has no half-precision rate, or the precision does not use one, the fp32 rate stands for it.
    """
    gpu, peak, share = cluster.gpu, cluster.gpu.peak_flops, cluster.gpu.sustained
    half = peak.of(dtype) if dtype in ("fp16", "bf16") else None  # type: ignore[arg-type]
    fp32 = (peak.tf32 if dtype == "tf32" else None) or peak.fp32
    power = (share.flops_per_joule or math.inf) * (gpu.power_watts or math.inf)
    single_flops = _single_flops(gpu, share, tf32=dtype == "tf32")
    half_flops = min(half * share.products, power) if half else single_flops
    forward, backward = share.attention.get(kernel) or share.attention["flash-2"]
    return Rates(
        half_flops,
        single_flops,
        peak.fp8 * share.fp8 if peak.fp8 else half_flops,  # the energy of such a product is not known: no limit
        min((half or fp32) * forward, power),
        min((half or fp32) * backward, power),
        single_flops * ATTENTION_FP32,
        gpu.memory_bandwidth_bytes_per_second * share.memory,
        *_links(cluster, share),
        gpu.host_link.bytes_per_second * HOST_LINK,
        HOST_MEMORY_BYTES_PER_SECOND / cluster.gpus_per_node,
        share.launch,
    )


def _single_flops(gpu: GPU, share: Sustained, *, tf32: bool) -> float:
    """Returns FLOP/s of products in fp32, in TF32 where it is allowed and the GPU has it."""
    watts = gpu.power_watts or math.inf
    if tf32 and gpu.peak_flops.tf32:
        return min(gpu.peak_flops.tf32 * share.products, (share.flops_per_joule or math.inf) * watts)
    peak = gpu.peak_flops.fp32 * (share.products if share.fp32 is None else share.fp32)
    return min(peak, (share.fp32_flops_per_joule or math.inf) * watts)


def _kernel(attention: Attention, cluster: Cluster) -> str:
    if attention is Attention.SDPA and cluster.gpu.prefers_cudnn_attention:
        return "cudnn"
    if attention is Attention.SDPA and not cluster.gpu.supports_flash_attention:
        return "efficient"
    # FlexAttention has no measured rate; it is taken for flash-2.
    return {Attention.FLASH_3: "flash-3", Attention.SDPA_EFFICIENT: "efficient"}.get(attention, "flash-2")


def _links(cluster: Cluster, share: Sustained) -> tuple[float, float, float]:
    """Returns bytes per second of a rank within a node, over all GPUs of several nodes, and between peers."""
    link, peak = cluster.gpu.gpu_link, cluster.gpu.peak_flops
    pcie = PCIE_BY_HOST if peak.tf32 == peak.fp32 else share.pcie  # GeForce cannot copy from GPU to GPU
    pcie = PCIE_PAIR if cluster.gpus_per_node == 2 else pcie
    within = link.bytes_per_second * (pcie if link.kind == "pcie" else share.nvlink)
    network = cluster.gpu.network_link
    nic = cluster.network_bytes_per_second * (NETWORK_BY_TCP if network and network.kind == "ethernet" else NETWORK)
    return within, min(within, nic * cluster.gpus_per_node), min(within, nic)
