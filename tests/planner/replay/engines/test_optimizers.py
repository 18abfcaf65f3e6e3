"""Stand-ins for optimizers of GPU kernels: which states they make, and when."""

import pytest
import torch
from torch.distributed.tensor import distribute_tensor

from planner.replay.engines.engine import pretended
from planner.replay.engines.fsdp2 import mesh_of
from planner.replay.setup.optimizers import BUILDERS, optimizer_of
from planner.replay.stand_ins.optimizers import BitsAndBytes
from planner.replay.structure.parameter_roles import trained_parameters
from strategies import Fsdp2, Optimizer, Sharding, Update

BLOCKWISE = [optimizer for optimizer, build in BUILDERS.items() if build is BitsAndBytes]


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 64)
        self.large = torch.nn.Linear(64, 65)


def made(optimizer: Optimizer, model: Model) -> torch.optim.Optimizer:
    return optimizer_of(optimizer, list(trained_parameters(model)), Update.AFTER_BACKWARD)


def stepped(optimizer: torch.optim.Optimizer, model: Model) -> None:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("choice", BLOCKWISE)
def test_states_are_there_after_the_first_step_and_stay(choice: Optimizer) -> None:
    model = Model()
    optimizer = made(choice, model)
    assert not optimizer.state
    stepped(optimizer, model)
    before = {id(state) for states in optimizer.state.values() for state in states.values()}
    stepped(optimizer, model)
    assert {id(state) for states in optimizer.state.values() for state in states.values()} == before


def test_bitsandbytes_keeps_embeddings_and_small_tensors_in_32_bits() -> None:
    model = Model()
    optimizer = made(Optimizer.ADAMW_8BIT, model)
    assert isinstance(optimizer, BitsAndBytes)
    stepped(optimizer, model)
    numbers = {
        name: sorted(((s.dtype, s.numel()) for s in optimizer.state[parameter].values()), key=str)
        for name, parameter in model.named_parameters()
    }
    fp32, uint8 = torch.float32, torch.uint8
    assert numbers == {
        "embedding.weight": [(fp32, 6400)] * 2,
        "large.weight": [(fp32, 17)] * 2 + [(uint8, 4160)] * 2,
        "large.bias": [(fp32, 65)] * 2,
    }
    assert {name: table.nbytes for name, table in optimizer.tables.items()} == {"dynamic": 1024, "udynamic": 1024}


def test_operators_like_bitsandbytes_refuse_sharded_parameters() -> None:
    """Why they are excluded with sharding; when this no longer raises, the rule can go."""
    with torch.library._scoped_library("planner_test", "FRAGMENT") as library:
        library.define("update(Tensor(a!) p, Tensor(b!) state1, Tensor(c!) absmax1) -> ()")
        library.impl("update", lambda p, state1, absmax1: None, "CPU")
        with pretended(2):
            weight = distribute_tensor(torch.zeros(128, 64), mesh_of(Fsdp2(Sharding.FULL_SHARD), 2))
            with pytest.raises(RuntimeError, match=r"mixed torch\.Tensor and DTensor"):
                torch.ops.planner_test.update(weight, torch.zeros_like(weight), torch.zeros(32))
