"""Runs a step with DeepSpeed's own ZeRO engine, set up as Trainer and accelerate do."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch

from planner.extras import needed_for
from planner.libraries.deepspeed import NOT_DECAYED, largest_ranks
from planner.replay.backend import CUDA_PATH, Backend
from planner.replay.engines.deepspeed.config import config_of
from planner.replay.engines.deepspeed.flattening import flattened
from planner.replay.engines.deepspeed.held import label
from planner.replay.engines.deepspeed.offload import Host, allocated_there, mapped, on_host
from planner.replay.engines.deepspeed.patches import on_fake_tensors, without_kernels
from planner.replay.engines.deepspeed.streams import reduction_stream, with_streams
from planner.replay.engines.engine import Engine, Labelling, Make, Named, pretended
from planner.replay.setup.build import is_quantized
from planner.replay.structure.parameter_roles import Role, TrainedParameter
from strategies import Strategy, Zero

FLAT: dict[str, Any] = {"name": "flat weights", "role": Role(is_embedding=False, is_hidden=False, is_linear=False)}
"""What stand-ins of optimizers are told of the tensor that DeepSpeed gives them in place of a group's parameters."""


class DeepSpeedEngine(Engine):
    """Runs a step with DeepSpeed's ZeRO optimizer of stage 1, 2 or 3.

    Stages 1 and 2 put all trained weights of a group into one flat tensor, of which each rank steps a share in fp32.
    Stage 3 divides each parameter, and gathers it when a module is entered.
    """

    sharding: Zero
    replays_all_blocks = True
    """Which gradients share a bucket, and what is gathered ahead, changes from block to block."""

    evaluations = 2
    """The second finds what the first has left gathered (ZeRO-3)."""
    evaluates_at_end = True
    """A fused loss runs other modules in evaluation, after which ZeRO-3 learns their order again."""

    def __init__(self, strategy: Strategy, world_size: int) -> None:
        super().__init__(strategy, world_size)
        self.live: Labelling | None = None
        self.model: Any = None
        self.engine: Any = None
        self.host = Host()

    @property
    def steps_on_gpu(self) -> bool:
        """Returns True: DeepSpeed's own step is run, wherever its optimizer is."""
        return True

    @property
    def autocast(self) -> torch.dtype | None:
        """Returns None: weights are in bf16 (`torch_autocast` of DeepSpeed is off unless asked for)."""
        return None

    def ranks_of(self, model: Any) -> list[int]:
        """Returns the ranks that can need the most memory; in stage 3 all need the same."""
        if self.sharding.stage == 3:
            return [0]
        groups = [[p.numel() for p in group] for group in groups_of(model)]
        return largest_ranks(groups, self.world_size)

    @contextmanager
    def patches(self) -> Iterator[None]:
        """Makes DeepSpeed run on fake tensors, as it would on a process group of real ranks."""
        with imported():
            offloaded = on_host(self.host) if self.sharding.steps_on_host else nullcontext()
            streams = with_streams() if self.sharding.buckets > 1 else nullcontext()
            with on_fake_tensors(), offloaded, streams:
                yield

    @contextmanager
    def pretended(self) -> Iterator[None]:
        """Joins a process group whose collectives do nothing, while the context lasts."""
        with mock.patch.dict(os.environ), pretended(self.world_size, self.rank):
            self.connect()
            yield

    def connect(self) -> None:
        """Lets DeepSpeed use the process group that has been joined."""
        import torch.distributed as dist

        said = {"RANK": dist.get_rank(), "LOCAL_RANK": 0, "WORLD_SIZE": self.world_size, "LOCAL_SIZE": self.world_size}
        os.environ.update({name: str(value) for name, value in said.items()})
        with imported() as deepspeed, without_kernels():
            deepspeed.init_distributed(dist_backend=dist.get_backend(), auto_mpi_discovery=False, verbose=False)

    def place(self, model: Any, backend: Backend, at: Callable[[str], None] = lambda name: None) -> Any:
        """Moves the model to the device, where `optimizer` divides it."""
        self.host.is_apart = backend is CUDA_PATH
        self.model = super().place(model, backend, at)
        return self.model

    def watch(self, trained: Named, live: Labelling) -> None:
        """Remembers the recorder, which is told of what DeepSpeed allocates.

        Stage 3 divides each weight as it is made (`zero.Init`), unless it is quantized: the GPU never has all of them.
        """
        self.live = self.host.live = live
        if self.sharding.stage == 3 and not is_quantized(self.strategy):
            self.host.disown(self.model.parameters())

    def optimizer(self, make: Make, trained: list[TrainedParameter]) -> torch.optim.Optimizer:
        """Divides the model, and returns DeepSpeed's optimizer around the strategy's."""
        by_parameter = {id(t.parameter): t for t in trained}
        decayed, others = ([by_parameter[id(p)] for p in group] for group in groups_of(self.model))
        optimizer = make(decayed or others)
        group = {**optimizer.param_groups[0], **FLAT}
        optimizer.param_groups[:] = [{**group, "params": [t.parameter for t in decayed or others]}]
        if decayed and others:
            optimizer.add_param_group({**group, "params": [t.parameter for t in others], "weight_decay": 0.0})
        placing = flattened(self.host) if self.sharding.stage < 3 else nullcontext()
        with imported() as deepspeed, placing:
            config = config_of(self.model, self.strategy, self.sharding)
            optimizer = mapped(optimizer) if self.sharding.steps_on_host else optimizer
            self.engine, found, *_ = deepspeed.initialize(model=self.model, optimizer=optimizer, config=config)
        zero: Any = found
        if self.sharding.buckets > 1:
            zero.reduction_stream = reduction_stream()
        assert self.live is not None
        self.host.disown(allocated_there(zero, self.model))
        label(zero, self.live)
        stepped: torch.optim.Optimizer = zero
        return stepped

    def called(self, model: Any) -> Any:
        """Returns DeepSpeed's engine, which the training loop calls in place of the model."""
        return self.engine

    @contextmanager
    def micro_batch(self, model: Any, *, last: bool) -> Iterator[None]:
        """Tells DeepSpeed whether the step follows (accelerate/utils/deepspeed.py, `DeepSpeedEngineWrapper`)."""
        self.engine.set_gradient_accumulation_boundary(is_boundary=last)
        yield

    def backward(self, loss: torch.Tensor) -> None:
        """Runs backward as Trainer does, which scales the loss itself (`scale_wrt_gas=False`)."""
        self.engine.backward(loss, scale_wrt_gas=False)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Runs the optimizer step, with its check of overflow, clipping and gathering."""
        self.engine.step()

    def gradients(self, trained: Named) -> Named:
        """Returns the gradients that DeepSpeed keeps: those of this rank's share, and whole ones in stage 1."""
        zero: Any = self.engine.optimizer
        kept = [("averaged gradients", g, None) for found in zero.averaged_gradients.values() for g in found or ()]
        kept += [
            ("accumulated gradients", g, None)
            for found in getattr(zero, "all_grad_tensors", {}).values()
            for g in found or ()
        ]
        return [*super().gradients(trained), *kept]

    def states(self, optimizer: torch.optim.Optimizer, trained: Named) -> Named:
        """Returns the states of the flat fp32 weights."""
        inner: Any = self.engine.optimizer.optimizer
        return [
            (f"{key} of group {i}", state, None)
            for i, found in enumerate(inner.state.values())
            for key, state in found.items()
            if isinstance(state, torch.Tensor)
        ]


def groups_of(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """Returns the trained parameters with and without weight decay, in the model's order.

    Source: transformers/trainer.py, `create_optimizer` and `get_decay_parameter_names`.
    """
    of_norms = {id(p) for m in model.modules() if isinstance(m, torch.nn.LayerNorm) for p in m.parameters()}
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    others = {id(p) for name, p in trained if id(p) in of_norms or re.search(NOT_DECAYED, name.lower())}
    return [p for _, p in trained if id(p) not in others], [p for _, p in trained if id(p) in others]


@contextmanager
def imported() -> Iterator[Any]:
    """Imports DeepSpeed for the CPU, which is the device of fake tensors and of real runs here.

    The variable that says so is as before when it is imported, so that no other process inherits it.

    Raises:
        MissingExtraError: DeepSpeed is not installed.
    """
    device = os.environ.get("DS_ACCELERATOR", "cpu")
    with needed_for("DeepSpeed", "deepspeed"), mock.patch.dict(os.environ, DS_ACCELERATOR=device):
        import deepspeed
    yield deepspeed
