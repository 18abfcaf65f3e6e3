"""Host memory of the memory model beside the tensors that libraries keep there in a replay, to a few blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from deepspeed.accelerator import get_accelerator
from torch.distributed.fsdp import FullyShardedDataParallel

from hardware import Cluster, load_catalog
from planner.libraries.allocator import BLOCK_BYTES, pinned
from planner.memory.model import MemoryModel
from planner.memory.sharding.host import OnHost
from planner.memory.step.traced_model import TracedModel
from planner.models import Inventory
from planner.models.families import family
from planner.replay import Workload, replay
from planner.replay.engines.deepspeed import DeepSpeedEngine
from planner.replay.engines.deepspeed.config import config_of
from planner.replay.engines.deepspeed.offload import allocated_there
from planner.replay.engines.fsdp1 import Fsdp1Engine
from planner.replay.engines.fsdp2 import Fsdp2Engine
from strategies import PLAIN, Fsdp1, Fsdp2, Lora, Offload, Optimizer, Precision, Sharding, Strategy, Zero

LLAMA = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
RANKS, TOKENS = 2, 64
ADAPTERS = Lora(8, ("q_proj", "down_proj"))


def predicted(strategy: Strategy, micro_batches: int) -> OnHost:
    traced = TracedModel(Inventory(family("llama").model_validate(LLAMA)), TOKENS)
    cluster = Cluster(load_catalog().get("H100-80GB-SXM"), RANKS)
    return MemoryModel(traced, cluster).footprint(strategy, micro_batches).host.kept


def chosen(sharding: Any, precision: Precision, **choices: Any) -> Strategy:
    return PLAIN._replace(sharding=sharding, precision=precision, optimizer=Optimizer.ADAMW, **choices)


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The engines that ran, with their models."""
    ran: list[Any] = []
    for engine in (Fsdp1Engine, Fsdp2Engine, DeepSpeedEngine):
        place = engine.place

        def placed(self: Any, *args: Any, place: Any = place, **kwargs: Any) -> Any:
            self.placed = place(self, *args, **kwargs)
            ran.append(self)
            return self.placed

        monkeypatch.setattr(engine, "place", placed)
    return ran


def run(strategy: Strategy, micro_batches: int = 1) -> None:
    replay(LLAMA, strategy, Workload(TOKENS, 2, micro_batches, world_size=RANKS), kept=0)


def states_of(optimizer: Any) -> Iterator[torch.Tensor]:
    for state in optimizer.state.values():
        yield from (x for x in state.values() if isinstance(x, torch.Tensor) and x.dim())


def size(tensors: Iterable[torch.Tensor]) -> int:
    storages = {id(x.untyped_storage()): x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


@pytest.fixture
def pins(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """Bytes of every tensor that DeepSpeed pins where its file asks for it, by its storage."""
    found: dict[int, int] = {}
    tensors = []

    def asking(*what: Any) -> dict[str, Any]:
        said = config_of(*what)
        for key in ("offload_optimizer", "offload_param"):
            if key in said["zero_optimization"]:
                said["zero_optimization"][key]["pin_memory"] = True
        return said

    def pin(tensor: torch.Tensor, make_copy: bool = True, match_shape: bool = True) -> torch.Tensor:
        tensors.append(tensor.detach())  # so that no other storage gets its address
        found[tensor.untyped_storage()._cdata] = tensor.nbytes
        return tensor

    monkeypatch.setattr("planner.replay.engines.deepspeed.engine.config_of", asking)
    monkeypatch.setattr(get_accelerator(), "pin_memory", pin)
    return found


@pytest.mark.parametrize("precision", [Precision.BF16_MIXED, Precision.BF16_TRUE])
@pytest.mark.parametrize("finetuning", [PLAIN.finetuning, ADAPTERS])
def test_pinned_shards_of_fsdp2(engines: list[Any], precision: Precision, finetuning: Any) -> None:
    strategy = chosen(Fsdp2(offload=Offload.CPU), precision, finetuning=finetuning)
    run(strategy)
    shards = [(p, p._local_tensor.nbytes) for p in engines[-1].placed.parameters()]
    kept = predicted(strategy, 1)
    assert kept.parameters == sum(pinned(num_bytes) for _, num_bytes in shards)
    assert kept.gradients == sum(pinned(num_bytes) for p, num_bytes in shards if p.requires_grad)


@pytest.mark.parametrize("precision", [Precision.BF16_MIXED, Precision.BF16_TRUE])
@pytest.mark.parametrize("finetuning", [PLAIN.finetuning, ADAPTERS])
def test_pinned_flat_shards_of_fsdp1(engines: list[Any], precision: Precision, finetuning: Any) -> None:
    strategy = chosen(Fsdp1(offload=Offload.CPU), precision, finetuning=finetuning)
    run(strategy)
    units = [u._handle.flat_param for u in FullyShardedDataParallel.fsdp_modules(engines[-1].placed) if u._handle]
    kept = predicted(strategy, 1)
    assert kept.parameters == sum(pinned(flat._local_shard.nbytes) for flat in units)
    assert kept.gradients == sum(pinned(flat._cpu_grad.nbytes) for flat in units)


@pytest.mark.slow
@pytest.mark.parametrize("finetuning", [PLAIN.finetuning, ADAPTERS])
@pytest.mark.parametrize("micro_batches", [1, 2])
@pytest.mark.parametrize(
    "sharding",
    [
        Zero(Sharding.ZERO1, offload=Offload.OPTIMIZER),
        Zero(Sharding.SHARD_GRAD_OP, offload=Offload.OPTIMIZER),
        Zero(Sharding.FULL_SHARD, offload=Offload.OPTIMIZER),
        Zero(Sharding.FULL_SHARD, offload=Offload.CPU),
    ],
)
def test_what_deepspeed_keeps(
    engines: list[Any], pins: dict[int, int], sharding: Zero, micro_batches: int, finetuning: Any
) -> None:
    strategy = chosen(sharding, Precision.BF16_MIXED, finetuning=finetuning)
    connect = DeepSpeedEngine.connect

    def run_one(self: Any) -> None:
        pins.clear()
        connect(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeepSpeedEngine, "connect", run_one)
        patch.setattr(DeepSpeedEngine, "ranks_of", lambda self, model: [int(sharding.stage < 3)])
        run(strategy, micro_batches)
    (engine,) = engines
    zero = engine.engine.optimizer
    found = [*allocated_there(zero, engine.placed), *states_of(zero.optimizer)]
    found += getattr(zero, "accumulated_grads_in_cpu", {}).values()
    pageable = size(x for x in found if x.untyped_storage()._cdata not in pins)
    kept = pageable + sum(map(pinned, pins.values()))
    blocks = 4 * 2  # weights, both states and a counter, of two groups, which are counted in blocks of the GPU's memory
    assert 0 <= predicted(strategy, micro_batches).total - kept <= blocks * BLOCK_BYTES
