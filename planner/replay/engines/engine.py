"""Defines what a sharding backend changes in a training step; the base class is one rank that keeps the whole model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Protocol

import torch

from planner.replay.backend import Backend
from planner.replay.recording.tensors import parts_of
from planner.replay.recording.trace import Scope
from planner.replay.setup.build import half
from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import ContradictionError, Strategy

MAX_RANKS = 2**12
"""Largest number of ranks in a replay. torch lists all ranks of a mesh several times over: 8,192 take 13 s, and 67
million take more memory than there is."""

Named = list[tuple[str, Any, Scope | None]]
"""(name, tensor, block to which it belongs) of several tensors."""

At = Callable[[str], None]
"""Is told the path in the model of what is placed next."""


def anywhere(path: str) -> None:
    """Ignores where the model is being placed."""


Make = Callable[[list[TrainedParameter]], torch.optim.Optimizer]
"""Builds the strategy's optimizer for some parameters."""


class Labelling(Protocol):
    """A recorder that is told at which block of the model the step is, and gets categories of tensors."""

    scope: Scope | None

    def label(self, category: str, tensors: Any) -> None:
        """Gives a memory category to tensors, and a name and a block to each of them."""
        ...


class Engine:
    """Runs what a sharding backend does in a step.

    A replay enters `pretended`, and a real run `connect`; then `place`, `watch`, `optimizer`, `called`, for every
    micro-batch `micro_batch` and `backward`, and for every optimizer step `step`.

    Args:
        strategy: The strategy of the step.
        world_size: The number of ranks.
    """

    extra_micro_batches = 0
    """Micro-batches of an accumulated step that are replayed in addition, since they differ from the others."""
    evaluations = 1
    """Batches that an evaluation needs until it repeats itself."""
    evaluates_at_end = False
    """Whether an evaluation follows the last step alone, because it changes the step that is next."""
    repeats_after_evaluation = False
    """Whether the last step runs once after an evaluation and once after a step, because these differ."""
    replays_all_blocks = False
    """Whether no block stands for others, because what a rank keeps depends on all parameters."""

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        self.strategy, self.sharding, self.world_size = strategy, strategy.sharding, world_size
        self.rank = 0
        """The rank that is replayed."""
        self.candidates = [0]
        """The ranks that can need the most memory."""

    @property
    def autocast(self) -> torch.dtype | None:
        """The dtype of autocast, or None where forward runs without it."""
        precision = self.strategy.precision
        return half(precision) if precision.facts.autocast_bytes is not None else None

    @property
    def steps_on_gpu(self) -> bool:
        """Whether the optimizer runs on the GPU."""
        return not self.sharding.on_host

    def ranks_of(self, model: Any) -> list[int]:
        """Returns the ranks among which is the one that needs the most memory, of a model that is not placed yet."""
        return [0]

    def pretended(self) -> AbstractContextManager[None]:
        """Joins a process group whose collectives do nothing, if the step needs one, while the context lasts."""
        return nullcontext()

    def connect(self) -> None:
        """Prepares for the process group that has been joined."""

    def patches(self) -> AbstractContextManager[None]:
        """Makes the library run on fake tensors while the context lasts."""
        return nullcontext()

    def place(self, model: Any, backend: Backend, at: At = anywhere) -> Any:
        """Divides an equipped model, and moves it to the backend's device or to the host.

        Args:
            model: What `planner.replay.setup.build.equip` returned.
            backend: Tells the device.
            at: Told the path of each module that is placed by itself.

        Returns:
            The model in training mode, with tied weights tied again and no weight initialized.
        """
        ties = ties_of(model)
        for _, *others in ties:
            for module, name in others:
                module._parameters[name] = None
        model = model.to_empty(device=backend.device)
        for (owner, name), *others in ties:
            for module, own_name in others:
                module._parameters[own_name] = owner._parameters[name]
        return model.train()

    def watch(self, trained: Named, live: Labelling) -> None:
        """Prepares for the gradients of the placed model's trained parameters, and labels what it allocates."""

    def optimizer(self, make: Make, trained: list[TrainedParameter]) -> torch.optim.Optimizer:
        """Returns this rank's optimizer."""
        return make(trained)

    def called(self, model: Any) -> Any:
        """Returns what the training loop calls for a forward pass."""
        return model

    def micro_batch(self, model: Any, *, last: bool) -> AbstractContextManager[None]:
        """Returns the context in which a micro-batch runs; `last` says whether it is the last of its step."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Runs backward."""
        loss.backward()

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Runs the optimizer step."""
        optimizer.step()

    def gradients(self, trained: Named) -> Named:
        """Returns the gradients after a backward pass, without those that `holds` knows."""
        found = [(f"{name}.grad", p.grad, scope) for name, p, scope in trained]
        return [g for g in found if not self.holds(g[1])]

    def states(self, optimizer: torch.optim.Optimizer, trained: Named) -> Named:
        """Returns the optimizer's state tensors."""
        found = getattr(optimizer, "optim", optimizer).state
        return [
            (f"{name}.{key}", part, scope)
            for name, parameter, scope in trained
            for key, state in found[parameter].items()
            if isinstance(state, torch.Tensor)
            for part in parts_of(state)
        ]

    def after_zeroing(self, model: Any) -> None:
        """Frees buffers of the backend that hold gradients which the optimizer has set to None."""

    def holds(self, gradient: torch.Tensor | None) -> bool:
        """Returns whether a gradient is part of a buffer of the backend, and not a tensor of its own."""
        return False


def ties_of(model: Any) -> list[list[tuple[Any, str]]]:
    """Returns the places (module, name) of each parameter with several.

    `Module.to` moves a tied weight once; `to_empty` would make a new one in each place.
    """
    places: dict[int, list[tuple[Any, str]]] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                places.setdefault(id(parameter), []).append((module, name))
    return [found for found in places.values() if len(found) > 1]


@contextmanager
def pretended(world_size: int, rank: int = 0) -> Iterator[None]:
    """Joins a process group of `world_size` ranks whose collectives do nothing, and leaves it when the context ends.

    Args:
        world_size: The number of ranks.
        rank: Which of them this process is. Libraries ask for it: transformers saves a model on the first one only.

    Raises:
        ContradictionError: There are more than `MAX_RANKS` ranks, or this process has joined another group.
    """
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    if world_size > MAX_RANKS:
        raise ContradictionError(
            f"{world_size} ranks are more than a replay pretends", f"estimate takes any number, verify {MAX_RANKS}"
        )
    if dist.is_initialized():
        raise ContradictionError(
            f"this process is one of the {dist.get_world_size()} ranks of a process group",
            "run the replay in a process of its own",
        )
    dist.init_process_group("fake", rank=rank, world_size=world_size, store=FakeStore())
    try:
        yield
    finally:
        dist.destroy_process_group()
