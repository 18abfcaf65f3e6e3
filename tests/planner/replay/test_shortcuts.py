"""What a replay does in less time than torch has the same result."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch.nn import Identity, Linear, Module, ModuleList, Sequential, init

from planner.replay import Trace, Workload, replay
from planner.replay.shortcuts import shortcuts
from strategies import PLAIN

MISTRAL = {
    "model_type": "mistral",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 256,
}

Walk = Callable[[Module], list[tuple[str, Module]]]


class Counted(Sequential):
    """A module that does something else as well when somebody walks through it, as PEFT's attention does."""

    walks = 0

    def named_modules(self, *args: object, **kwargs: object) -> Iterator[tuple[str, Module]]:  # type: ignore[override]
        self.walks += 1
        return super().named_modules(*args, **kwargs)  # type: ignore[arg-type]


def nested() -> Module:
    """Returns a module with shared modules, missing ones, a class with a walk of its own, and several levels."""
    shared = Linear(2, 2)
    model = Sequential(
        Sequential(shared, ModuleList([Sequential(shared), Linear(2, 2)])), shared, Counted(Linear(2, 2), shared)
    )
    model.register_module("missing", None)
    model.add_module("last", Sequential(Sequential(Sequential(Linear(2, 2)))))
    return model


def replaced(model: Module) -> list[tuple[str, Module]]:
    """Walks through a model and replaces each linear layer when it comes, as PEFT does."""
    found = []
    for name, module in model.named_modules():
        found.append((name, module))
        if isinstance(module, Sequential) and len(module) and isinstance(module[0], Linear):
            module[0] = Sequential(Identity())
    return found


@pytest.mark.parametrize(
    "walk",
    [
        lambda model: list(model.named_modules()),
        lambda model: list(model.named_modules(remove_duplicate=False)),
        lambda model: list(model.named_modules(prefix="model")),
        lambda model: list(model.named_modules(memo={model[1]})),
        lambda model: list(model.named_modules(memo={model})),
        lambda model: [(str(i), module) for i, module in enumerate(model.modules())],
        replaced,
    ],
    ids=["once", "duplicates", "prefix", "memo", "all in memo", "modules", "replaced meanwhile"],
)
def test_modules_come_in_torchs_order_and_with_its_names(walk: Walk) -> None:
    torch.manual_seed(0)
    expected = [(name, type(module), repr(module)) for name, module in walk(nested())]
    with shortcuts():
        found = [(name, type(module), repr(module)) for name, module in walk(nested())]
    assert found == expected


def test_a_class_with_a_walk_of_its_own_keeps_it() -> None:
    model = nested()
    with shortcuts():
        list(model.named_modules())
    assert model[2].walks == 1  # type: ignore[index]


def test_only_tensors_without_memory_are_not_filled_and_torch_is_as_it_was() -> None:
    walk, fill = Module.named_modules, init.ones_
    with shortcuts():
        assert init.ones_(torch.empty(3)).tolist() == [1.0, 1.0, 1.0]
        assert init.ones_(torch.empty(3, device="meta")).is_meta
        assert Linear(4, 4).weight.abs().sum() > 0
    assert (Module.named_modules, init.ones_) == (walk, fill)


def test_the_plain_optimizer_allocates_nothing_so_that_its_updates_can_be_left_out() -> None:
    workload = Workload(sequence_length=16, micro_batch_size=2, optimizer_steps=1)
    traces: list[Trace] = [replay(MISTRAL, PLAIN, workload._replace(updates=updates)) for updates in (True, False)]
    updated, left_out = ([section.events for section in trace.sections] for trace in traces)
    assert updated == left_out
