"""Stand-ins for optimizers of GPU kernels: which states they make, and when."""

import pytest
import torch
from torch.distributed.tensor import distribute_tensor

from planner.replay.build import ranks
from planner.replay.optimizers import STAND_INS, AdamW8bit
from strategies import Optimizer


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(100, 64)
        self.large = torch.nn.Linear(64, 65)
        self.trained = [self.embedding.weight, self.large.weight, self.large.bias]


def stepped(optimizer: torch.optim.Optimizer, parameters: list[torch.nn.Parameter]) -> None:
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()


@pytest.mark.parametrize("optimizer", STAND_INS)
def test_states_are_there_after_the_first_step_and_stay(optimizer: Optimizer) -> None:
    model = Model()
    made = STAND_INS[optimizer](model, model.trained)
    assert not made.state
    stepped(made, model.trained)
    before = {id(state) for states in made.state.values() for state in states.values()}
    stepped(made, model.trained)
    assert {id(state) for states in made.state.values() for state in states.values()} == before


def test_bitsandbytes_keeps_embeddings_and_small_tensors_in_32_bits() -> None:
    model = Model()
    optimizer = AdamW8bit(model, model.trained)
    stepped(optimizer, model.trained)
    numbers = {
        name: [(state.dtype, state.numel()) for state in optimizer.state[parameter].values()]
        for name, parameter in model.named_parameters()
    }
    fp32, uint8 = torch.float32, torch.uint8
    assert numbers == {
        "embedding.weight": [(fp32, 6400)] * 2,
        "large.weight": [(uint8, 4160)] * 2 + [(fp32, 17)] * 2,
        "large.bias": [(fp32, 65)] * 2,
    }
    assert {name: table.nbytes for name, table in optimizer.tables.items()} == {"dynamic": 1024, "udynamic": 1024}


def test_operators_like_bitsandbytes_refuse_sharded_parameters() -> None:
    """Why `Strategy.obstacle` excludes adamw-8bit with sharding; when this no longer raises, the obstacle can go."""
    with torch.library._scoped_library("planner_test", "FRAGMENT") as library:
        library.define("update(Tensor(a!) p, Tensor(b!) state1, Tensor(c!) absmax1) -> ()")
        library.impl("update", lambda p, state1, absmax1: None, "CPU")
        mesh = ranks(2)
        weight = distribute_tensor(torch.zeros(128, 64), mesh)
        with pytest.raises(RuntimeError, match=r"mixed torch\.Tensor and DTensor"):
            torch.ops.planner_test.update(weight, torch.zeros_like(weight), torch.zeros(32))
