from typing import Any

import pytest

from hardware import Cluster, PlannerError, load_catalog

CATALOG = load_catalog()


def test_one_gpu_is_a_cluster() -> None:
    cluster = Cluster(CATALOG.get("T4"))
    assert (cluster.gpus_per_node, cluster.nodes, cluster.world_size) == (1, 1, 1)


def test_ranks_are_gpus_times_nodes() -> None:
    assert Cluster(CATALOG.get("H100"), gpus_per_node=8, nodes=4).world_size == 32


@pytest.mark.parametrize(
    ("name", "gpus_per_node", "nodes", "expected"),
    [
        ("H100", 8, 2, 50_000_000_000),  # 400 Gb/s InfiniBand for each GPU
        ("A100", 8, 2, 25_000_000_000),  # 200 Gb/s
        ("T4", 4, 2, 3_125_000_000),  # 100 Gb/s Ethernet shared by four
        ("T4", 1, 2, 12_500_000_000),
    ],
)
def test_a_gpu_has_its_share_of_the_nodes_network(name: str, gpus_per_node: int, nodes: int, expected: int) -> None:
    assert Cluster(CATALOG.get(name), gpus_per_node, nodes).network_bytes_per_second == expected


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"gpus_per_node": 0}, "gpus_per_node is 0, not a positive whole number"),
        ({"nodes": -2}, "nodes is -2, not a positive whole number"),
        ({"nodes": True}, "nodes is True, not a positive whole number"),
        ({"gpus_per_node": 1.5}, "gpus_per_node is 1.5, not a positive whole number"),
    ],
)
def test_a_count_that_is_not_positive_is_refused(counts: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError) as caught:
        Cluster(CATALOG.get("T4"), **counts)
    assert caught.value.message == message
