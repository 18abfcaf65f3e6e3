"""What loading a model takes: on a GPU that will keep a share of it, and on the host for what is cast or unpacked."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import pytest

import planner
from hardware import Cluster, load_catalog
from planner.memory.model import MemoryModel
from planner.memory.step.traced_model import TracedModel
from planner.models import Inventory
from planner.models.families import family
from planner.records.plan import HostMemory
from planner.replay import Workload, replay
from strategies import PLAIN, Lora, Optimizer, Precision, Quantization, UnquantizedDtype

FP32, HALF = 4, 2
WORKSPACES = 2 * 8_519_680
"""Bytes of cuBLAS's two workspaces before sm90, which count as allocated."""
SMOL, SMOL_PARAMETERS = "smollm2-135m", 134_515_008
EIGHT = {"gpu": "H100-80GB-SXM", "gpus": 8, "sequence_length": 128}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 1024,
    "intermediate_size": 2752,
    "num_hidden_layers": 6,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "vocab_size": 32000,
    "max_position_embeddings": 2048,
}
QLORA = {"finetuning": "qlora", "sharding": "full_shard", "sequence_length": 512}


def host(model: str, **choices: Any) -> HostMemory:
    found = planner.estimate(model, **choices).memory.host
    assert found is not None
    return found


def test_every_rank_casts_what_fsdp2_raises_to_fp32() -> None:
    mixed: dict[str, Any] = {**EIGHT, "finetuning": "full", "precision": "bf16-mixed", "sharding": "full_shard"}
    assert host(SMOL, **mixed).loading == 8 * FP32 * SMOL_PARAMETERS
    assert host(SMOL, **mixed, loading="rank-0").loading == FP32 * SMOL_PARAMETERS
    assert host(SMOL, **mixed, nodes=4).loading == 8 * FP32 * SMOL_PARAMETERS  # of one node
    assert host(SMOL, **{**mixed, "precision": "bf16-true"}).loading == 0
    assert host(SMOL, **mixed, sharding_backend="fsdp1").loading == 0
    assert host(SMOL, **{**mixed, "sharding": "zero3"}).loading == 0


def test_one_rank_casts_as_well() -> None:
    alone = {"gpu": "H100-80GB-SXM", "finetuning": "full", "precision": "bf16-mixed"}
    assert host(SMOL, **alone).loading == FP32 * SMOL_PARAMETERS
    assert host(SMOL, **alone).node_bytes == FP32 * SMOL_PARAMETERS


def test_shards_are_made_beside_the_weights_that_they_are_of() -> None:
    offloaded = host(SMOL, **EIGHT, finetuning="full", precision="bf16-mixed", sharding="full_shard", offload="cpu")
    assert offloaded.loading == pytest.approx((8 + 1) * FP32 * SMOL_PARAMETERS, rel=1e-3)
    assert offloaded.node_bytes == offloaded.loading


def test_every_rank_unpacks_experts_of_4_bits() -> None:
    experts = planner.find_model("gpt-oss-20b").inventory.num_expert_parameters
    lora = {"gpu": "RTX-4090", "gpus": 4, "finetuning": "lora", "precision": "bf16-mixed", "sharding": "full_shard"}
    result = planner.estimate("gpt-oss-20b", **lora)
    assert result.memory.host is not None
    assert result.memory.host.loading == 4 * HALF * experts
    assert any("every rank unpacks all experts (35.6 GiB)" in note for note in result.notes)


def test_a_quantized_base_is_whole_on_each_gpu_before_it_is_divided() -> None:
    divided = planner.estimate("llama-3-8b", gpu="RTX-4090", gpus=4, **QLORA, checkpointing="full")
    whole = planner.estimate("llama-3-8b", gpu="RTX-4090", **{**QLORA, "sharding": "no_shard"}, checkpointing="full")
    assert divided.memory.host is not None
    assert divided.memory.host.loading == 0
    assert divided.memory.moments["loading"] == whole.memory.moments["loading"]
    head, adapters = 128_256 * 4_096, 41_943_040
    in_both = whole.memory.components.parameters - FP32 * adapters + HALF * head  # PEFT casts the head last
    assert whole.memory.moments["loading"] == in_both + WORKSPACES


@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-5), ("bf16", 1e-2)])
def test_loading_on_one_gpu_is_that_of_a_replay(dtype: str, tolerance: float) -> None:
    lora = Lora(8, "all-linear", quantization=Quantization.NF4, unquantized_dtype=UnquantizedDtype(dtype))
    strategy = PLAIN._replace(precision=Precision.BF16_MIXED, finetuning=lora, optimizer=Optimizer.ADAMW)
    traced = TracedModel(Inventory(family("llama").model_validate(LLAMA)), 64)
    model = MemoryModel(traced, Cluster(load_catalog().get("A100-40GB")))
    loading, *_ = replay(LLAMA, strategy, Workload(64, 1), kept=0).sections
    replayed = max(accumulate(event.size for event in loading.events))
    predicted = model.footprint(strategy, 1).loading.gpu_bytes
    assert predicted == pytest.approx(replayed, rel=tolerance)


def test_loading_is_the_peak_where_nothing_is_larger() -> None:
    memory = planner.estimate("llama-3-8b", gpu="H100-80GB-SXM", gpus=8, **QLORA, checkpointing="full").memory
    assert memory.moment == "loading"
    assert memory.components.unsharded_parameters > 0
    assert sum(memory.components.model_dump().values()) == memory.process_bytes


def test_a_quantized_base_that_no_gpu_holds_is_loaded_on_the_host() -> None:
    cards = {"gpu": "RTX-4090", "gpus": 4, **QLORA, "checkpointing": "full", "offload": "cpu"}
    result = planner.estimate("llama-3-70b", **cards)
    assert "loading" not in result.memory.moments
    assert result.memory.host is not None
    alone = host("llama-3-70b", **cards, loading="rank-0").loading
    assert result.memory.host.loading == 4 * alone
    assert 35 * 10**9 < alone < 50 * 10**9
    assert any("device_map={'': 'cpu'}" in note for note in result.notes)
    assert not planner.estimate("llama-3-70b", **cards, host_memory="128GB").memory.fits
    assert planner.estimate("llama-3-70b", **cards, host_memory="128GB", loading="rank-0").memory.fits


SEVENTY: dict[str, Any] = {**EIGHT, "nodes": 4, "finetuning": "full", "precision": "bf16-mixed"}
"""A model of which a node's 2 TiB hold less than 8 copies in fp32."""


def test_rank_0_alone_loads_what_a_node_cannot_hold_eight_times() -> None:
    result = planner.fit("llama-3-70b", **SEVENTY)
    assert result.plans
    assert any("rank 0 alone may load the weights, since on every rank they take 2,103 GiB" in n for n in result.notes)
    chosen = {**SEVENTY, "sharding": "full_shard", "checkpointing": "full"}
    spared, by_one = host("llama-3-70b", **chosen), host("llama-3-70b", **chosen, loading="rank-0")
    every = host("llama-3-70b", **chosen, loading="every-rank")
    assert (spared, 8 * spared.loading) == (by_one, every.loading)
    assert host("llama-3-70b", **chosen, host_memory="3TB") == host(
        "llama-3-70b", **chosen, host_memory="3TB", loading="every-rank"
    )


def test_replicas_are_loaded_by_every_rank_whatever_a_node_holds() -> None:
    asked: dict[str, Any] = {**EIGHT, "finetuning": "full", "precision": "bf16-mixed", "sharding": "no_shard"}
    assert not planner.estimate(SMOL, **asked, host_memory="4GB").memory.fits


def test_fit_says_that_another_way_of_loading_would_do() -> None:
    asked = {**SEVENTY, "loading": "every-rank"}
    result = planner.fit("llama-3-70b", **asked)
    assert result.shortfall is not None
    assert result.shortfall.ways[0].options == {"loading": "rank-0"}
    assert planner.fit("llama-3-70b", **{**asked, "loading": "rank-0"}).plans
