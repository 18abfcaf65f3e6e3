"""Rates are shares of a GPU's peaks, by what was measured of its architecture."""

from __future__ import annotations

import pytest

from hardware import Cluster, Link, load_catalog
from hardware.sustained import BY_CAPABILITY, NETWORK, NETWORK_BY_TCP, PCIE_PAIR
from planner.time import Rates
from strategies import Attention, Precision, Space, Strategy

CATALOG = load_catalog()


def strategy(gpu: str, precision: Precision, attention: Attention = Attention.SDPA) -> Strategy:
    card = CATALOG.get(gpu)
    found = next(Space.default(Cluster(card)).strategies(card))
    return found._replace(precision=precision, attention=attention)


def rates(gpu: str, precision: Precision = Precision.BF16_MIXED, gpus: int = 1, nodes: int = 1) -> Rates:
    return Rates.of(Cluster(CATALOG.get(gpu), gpus, nodes), strategy(gpu, precision))


@pytest.mark.parametrize(
    ("gpu", "precision", "half", "fp32"),
    [
        ("A100-40GB-SXM", Precision.BF16_MIXED, 312e12 * 0.72, 19.5e12 * 0.85),
        ("A100-40GB-SXM", Precision.FP32, 19.5e12 * 0.85, 19.5e12 * 0.85),
        ("A100-40GB-SXM", Precision.TF32, 156e12 * 0.72, 156e12 * 0.72),
        ("RTX-4090", Precision.BF16_MIXED, 165.2e12 * 0.96, 82.6e12 * 0.64),
        ("RTX-A4000", Precision.BF16_MIXED, 140 * 0.414e12, 140 * 0.077e12),  # which its power decides
        ("RTX-A4000", Precision.TF32, 38.3e12 * 0.96, 38.3e12 * 0.96),
        ("MI300X", Precision.FP32, 163.4e12 * 0.51 * 0.78, 163.4e12 * 0.51 * 0.78),  # of whose fp32 nothing is measured
        ("V100-32GB-SXM", Precision.TF32, 15.7e12 * 0.85, 15.7e12 * 0.85),  # which has no TF32
    ],
)
def test_products_run_at_a_share_of_the_peak_of_their_dtype(
    gpu: str, precision: Precision, half: float, fp32: float
) -> None:
    found = rates(gpu, precision)
    assert (found.half_flops, found.fp32_flops) == pytest.approx((half, fp32))


def test_a_board_with_little_power_multiplies_at_what_its_power_allows() -> None:
    assert rates("H100-80GB-SXM").half_flops == pytest.approx(989.4e12 * 0.56)
    assert rates("H100-80GB-PCIe").half_flops == pytest.approx(350 * 0.95e12)
    assert rates("L40S").half_flops == pytest.approx(350 * 0.51e12)


def test_a_board_that_was_measured_itself_multiplies_at_its_own_rate() -> None:
    assert rates("L4").half_flops == pytest.approx(72 * 0.765e12)
    assert rates("T4", Precision.FP32).fp32_flops == pytest.approx(70 * 0.061e12)
    assert CATALOG.get("L4").sustained.attention == CATALOG.get("L40S").sustained.attention


def test_amd_has_rates_of_its_own_kernels() -> None:
    cluster, asked = Cluster(CATALOG.get("MI300X")), strategy("MI300X", Precision.BF16_MIXED)
    now, then = Rates.of(cluster, asked), Rates.of(cluster, asked, "aotriton")
    assert now.half_flops == then.half_flops == pytest.approx(1307.4e12 * 0.51 * 0.78)
    assert (now.attention_backward, then.attention_backward) == pytest.approx((1307.4e12 * 0.155, 1307.4e12 * 0.09))


def test_fp8_has_a_rate_of_its_own_where_the_gpu_has_it() -> None:
    assert rates("H100-80GB-SXM", Precision.FP8_MIXED).fp8_flops == pytest.approx(1978.9e12 * 0.50)
    found = rates("A100-40GB-SXM")
    assert found.fp8_flops == found.half_flops


def test_attention_runs_at_the_rate_of_its_kernel() -> None:
    cluster = Cluster(CATALOG.get("H100"))
    sdpa, flash_2 = (
        Rates.of(cluster, strategy("H100", Precision.BF16_MIXED, attention)).attention_forward
        for attention in (Attention.SDPA, Attention.FLASH_2)
    )
    assert flash_2 == pytest.approx(989.4e12 * 0.30)
    assert sdpa > flash_2


def test_sdpa_runs_the_memory_efficient_kernel_where_there_is_no_flash_attention() -> None:
    found = rates("T4", Precision.FP16_MIXED)
    assert found.attention_forward == pytest.approx(65e12 * 0.13)
    assert found.attention_fp32 == pytest.approx(0.5 * 70 * 0.061e12)


def test_a_node_drives_all_its_network_in_a_collective_and_one_nic_between_peers() -> None:
    found = rates("A100-40GB-SXM", gpus=8, nodes=2)
    assert found.node_link_bytes == pytest.approx(300e9 * 0.78)
    assert found.peer_bytes == pytest.approx(25e9 * NETWORK)
    assert found.network_bytes == pytest.approx(8 * 25e9 * NETWORK)
    h100 = rates("H100-80GB-SXM", gpus=8, nodes=2)
    assert h100.network_bytes == pytest.approx(8 * 50e9 * NETWORK)


def test_collectives_by_pcie_reach_less_of_it_the_more_gpus_there_are() -> None:
    assert rates("L40S", gpus=2).node_link_bytes == pytest.approx(31.5e9 * PCIE_PAIR)
    assert rates("A100-80GB-PCIe", gpus=4).node_link_bytes == pytest.approx(31.5e9 * 0.50)
    assert rates("L40S", gpus=4).node_link_bytes == pytest.approx(31.5e9 * 0.27)  # by way of the host's memory
    assert rates("RTX-A5000", gpus=4).node_link_bytes == pytest.approx(31.5e9 * 0.50)
    assert rates("RTX-3090", gpus=4).node_link_bytes == pytest.approx(31.5e9 * 0.27)  # GeForce has no other way


def test_sockets_reach_less_of_a_network_than_rdma() -> None:
    def across(kind: str) -> float:
        link = Link(kind=kind, bytes_per_second=1_562_500_000)
        gpu = CATALOG.get("A100-40GB-SXM").model_copy(update={"network_link": link})
        return Rates.of(Cluster(gpu, 8, 2), strategy("A100-40GB-SXM", Precision.BF16_MIXED)).network_bytes

    assert across("roce") == pytest.approx(12.5e9 * NETWORK)
    assert across("ethernet") == pytest.approx(12.5e9 * NETWORK_BY_TCP)


def test_a_gpu_that_nothing_was_measured_of_says_so() -> None:
    assert CATALOG.get("A100").sustained.measured
    assert CATALOG.get("T4").sustained.measured
    assert not CATALOG.get("V100-16GB-SXM").sustained.measured
    of_best_shape = {capability for capability, found in BY_CAPABILITY.items() if not found.measured}
    assert of_best_shape == {"gfx90a", "gfx942", "gfx950", "gaudi2", "gaudi3"}
