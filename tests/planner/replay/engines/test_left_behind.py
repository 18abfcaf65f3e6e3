"""A replay leaves nothing in its process that a later replay, or the libraries beside it, would see."""

from __future__ import annotations

import os
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode

from planner.allocator.streams import Stream
from planner.replay import Workload, replay
from planner.replay.engines.engine import pretended
from planner.replay.recording.recorder import LiveBytes
from planner.replay.recording.streams import name_stream, share
from planner.replay.recording.trace import Phase
from strategies import PLAIN, ContradictionError, Fsdp1, Fsdp2, Replicated, Sharding, Zero

LLAMA = {
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 512,
}
RANKS = 2
BACKENDS = (Fsdp2(Sharding.FULL_SHARD), Fsdp1(), Zero(Sharding.SHARD_GRAD_OP), Replicated(Sharding.ZERO1))
TRIES = 10_000
"""Tensors made until one has the address of an earlier one, which is mostly the first."""


@pytest.mark.parametrize("sharding", BACKENDS, ids=lambda sharding: type(sharding).__name__)
def test_a_replay_leaves_its_process_group_and_the_environment_as_it_was(sharding: Any) -> None:
    before = dict(os.environ)
    replay(LLAMA, PLAIN._replace(sharding=sharding), Workload(64, 1, 1, world_size=RANKS))
    assert not dist.is_initialized()
    assert dict(os.environ) == before


def test_a_process_group_of_the_caller_is_not_destroyed() -> None:
    with pretended(4):
        with pytest.raises(ContradictionError, match="is one of the 4 ranks of a process group"):
            replay(LLAMA, PLAIN._replace(sharding=Fsdp1()), Workload(64, 1, 1, world_size=RANKS))
        assert dist.get_world_size() == 4


def test_a_storage_is_not_shared_because_one_before_had_its_address() -> None:
    other = torch.Stream(device="cpu")
    name_stream(other, Stream.GATHER)
    with FakeTensorMode():
        earlier = torch.empty(64)
        address = earlier.untyped_storage()._cdata
        share(earlier, other)
        del earlier
        with LiveBytes(block_bytes=512) as live:
            live.enter(Phase.FORWARD, 0)
            made = []
            while len(made) < TRIES and address not in (tensor.untyped_storage()._cdata for tensor in made[-1:]):
                made.append(torch.empty(64))
            assert made[-1].untyped_storage()._cdata == address
            number = live.number(made[-1])
            del made
    assert not live.trace.labels[number].shared
