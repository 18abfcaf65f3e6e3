"""Host memory of a node: what is kept there, in powers of two where it is pinned, and what it allows."""

from __future__ import annotations

from math import prod

import pytest

import planner
from hardware import GIB, Cluster, load_catalog
from planner import RequestError
from planner.libraries.allocator import pinned
from planner.memory.model import MemoryModel
from planner.memory.sharding.host import OnHost
from planner.memory.step.host import Host
from planner.memory.step.traced_model import TracedModel
from planner.models import Inventory
from planner.records.asked.sizes import parse_bytes
from strategies import PLAIN, Checkpointing, Checkpoints, Optimizer, Precision, Strategy

INVENTORY = Inventory(planner.find_model("smollm2-135m").architecture)
TOKENS, HIDDEN, BLOCKS, HALF = 512, 576, 30, 2
FULL_70B = {"finetuning": "full", "precision": "bf16-true", "checkpointing": "full", "offload": "cpu"}


def host(strategy: Strategy, gpus: int = 1) -> Host:
    cluster = Cluster(load_catalog().get("H100-80GB-SXM"), gpus)
    return MemoryModel(TracedModel(INVENTORY, TOKENS), cluster).footprint(strategy, 1).host


@pytest.mark.parametrize(("asked", "taken"), [(0, 0), (1, 1), (3, 4), (4096, 4096), (4097, 8192)])
def test_pinned_memory_is_a_power_of_two(asked: int, taken: int) -> None:
    assert pinned(asked) == taken


def test_nothing_is_on_the_host_without_an_offload() -> None:
    assert host(PLAIN).kept == OnHost()
    assert host(PLAIN._replace(precision=Precision.BF16_TRUE)).node_bytes(8) == 0


def test_inputs_of_blocks_wait_in_pinned_tensors_on_every_rank() -> None:
    offloads = PLAIN._replace(precision=Precision.BF16_TRUE, checkpointing=Checkpoints(Checkpointing.OFFLOAD))
    assert host(offloads, 4).node_bytes(3) == 4 * BLOCKS * pinned(3 * TOKENS * HIDDEN * HALF)


def test_torchao_keeps_copies_and_gradients_pinned_and_states_beside_them() -> None:
    kept = host(PLAIN._replace(precision=Precision.BF16_TRUE, optimizer=Optimizer.ADAMW_OFFLOAD)).kept
    parts = [INVENTORY.stem, *(INVENTORY.blocks[kind] for kind in INVENTORY.layer_kinds), INVENTORY.head]
    elements = [n for part in parts for t in part.tensors if (n := prod(t.shape)) >= 4096]
    copies = sum(pinned(n * HALF) for n in elements)
    assert kept == OnHost(copies, copies, 2 * HALF * sum(elements))


def test_a_node_allows_the_largest_micro_batch_for_which_it_has_room() -> None:
    half_full = Host(OnHost(100), ((24, 2),), ranks=2, limit_bytes=2 * (100 + 2 * 64))
    assert half_full.largest_micro_batch(50) == 2  # 3 x 24 bytes are in a block of 128
    assert half_full.largest_micro_batch(1) == 1
    assert half_full._replace(limit_bytes=2 * 100).largest_micro_batch(50) == 0
    assert half_full._replace(limit_bytes=None).largest_micro_batch(50) == 50


def test_full_finetuning_of_70b_needs_more_host_memory_than_two_cards_have() -> None:
    plan = planner.estimate("llama-3-70b", gpu="RTX-4090", gpus=2, **FULL_70B)
    assert plan.memory.host is not None
    bytes_per_parameter = 2 + 2 + 4  # weights, gradients, both states
    assert plan.memory.host.node_bytes == pytest.approx(70_553_706_496 * bytes_per_parameter, rel=0.06)
    assert plan.memory.host.optimizer_states == pytest.approx(70_553_706_496 * 4, rel=1e-4)
    assert plan.memory.process_bytes < plan.memory.budget_bytes
    assert not plan.memory.fits
    assert "GiB of host memory" in plan.memory.verdict
    roomy = planner.estimate("llama-3-70b", gpu="RTX-4090", gpus=2, **FULL_70B, host_memory="600GB")
    assert roomy.memory.fits


def test_fit_says_how_much_host_memory_would_do() -> None:
    result = planner.fit("llama-3-70b", gpu="RTX-4090", gpus=2, **FULL_70B)
    assert result.shortfall is not None
    (way,) = (way for way in result.shortfall.ways if "host-memory" in way.options)
    size = str(way.options["host-memory"])
    assert planner.fit("llama-3-70b", gpu="RTX-4090", gpus=2, **FULL_70B, host_memory=size).plans
    assert "into the node's host memory" in str(result)
    assert result.rejected["does not fit into the host's memory"] > 0


def test_host_memory_is_the_catalogs_for_each_gpu_unless_given() -> None:
    gpu = load_catalog().get("A100-40GB")
    assert gpu.host_memory_bytes == 144 * GIB
    assert Cluster(gpu, 4).host_memory_bytes == 4 * 144 * GIB
    assert Cluster(gpu, 4, host_bytes=5).host_memory_bytes == 5
    desktop = load_catalog().get("RTX-3090")
    assert desktop.host_memory_bytes == 2 * desktop.memory_bytes


@pytest.mark.parametrize(
    ("given", "size"), [(None, None), (7, 7), ("512GB", 512 * 10**9), ("1.5 TiB", 3 * 2**39), ("64gib", 2**36)]
)
def test_sizes_are_read_as_people_write_them(given: int | str | None, size: int | None) -> None:
    assert parse_bytes("host_memory", given) == size


@pytest.mark.parametrize("given", ["512", "512 XB", "-1GB", True, 1.5])
def test_what_is_no_size_is_refused(given: object) -> None:
    with pytest.raises(RequestError, match="host_memory is"):
        parse_bytes("host_memory", given)  # type: ignore[arg-type]  # what a caller may give
