"""Runs the training loop of one rank, on fake tensors or on real ones, and tells a recorder what its tensors are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import torch

from planner.replay.backend import Backend
from planner.replay.engines.engine import Engine, Named
from planner.replay.extension.blocks import home_of
from planner.replay.recording.trace import Phase, Scope
from planner.replay.setup.optimizers import optimizer_of
from planner.replay.structure.batches import batch_of
from planner.replay.structure.inputs import loss_of
from planner.replay.structure.pairs import forward_of
from planner.replay.structure.parameter_roles import trained_parameters
from planner.replay.structure.source import Source
from planner.replay.workload import Workload
from strategies import Update


class Recorder(Protocol):
    """Follows a step: `LiveBytes` on fake tensors, the device's own counters on real ones."""

    scope: Scope | None
    """The block of the model where the step is."""

    def enter(self, phase: Phase, step: int) -> None:
        """Starts a phase of a step."""
        ...

    def label(self, category: str, tensors: Iterable[tuple[str, torch.Tensor | None, Scope | None]]) -> None:
        """Gives a memory category to tensors, and a name and a block to each of them."""
        ...

    def settle(self) -> None:
        """Moves the present phase's events of tensors with a category to the blocks to which these belong."""
        ...


class Steps:
    """Runs the training loop of one rank, as Trainer does, and names its tensors for the recorder.

    Args:
        model: The placed model.
        engine: Runs what the sharding backend does.
        source: The model's source, which says what its inputs are.
        workload: Batch and sequence sizes.
        backend: The device of the step.
        live: The recorder.
        scopes: The block of each module path that is a block of a run.
        micro_batches: Micro-batches per optimizer step that are run.
        load: Called with parameters and buffers to rewrite the loading phase.
    """

    def __init__(
        self,
        model: Any,
        engine: Engine,
        source: Source,
        workload: Workload,
        backend: Backend,
        live: Recorder,
        scopes: Mapping[str, Scope],
        micro_batches: int,
        load: Callable[[Named, Named], None] = lambda parameters, buffers: None,
    ) -> None:
        self.live, self.workload, self.scopes, self.micro_batches = live, workload, scopes, micro_batches
        self.engine, strategy = engine, engine.strategy
        self.parameters = [(name, p, self._home(name)) for name, p in model.named_parameters()]
        self.trained = [(name, p, scope) for name, p, scope in self.parameters if p.requires_grad]
        buffers = [(name, b, self._home(name)) for name, b in model.named_buffers()]
        live.label("parameters", [*self.parameters, *buffers])
        live.settle()
        load(self.parameters, buffers)
        live.scope = None
        engine.watch(self.trained, live)
        # Offloaded parameters are updated on the host, so it does not matter when.
        update = strategy.update if engine.steps_on_gpu else Update.AFTER_BACKWARD
        make = partial(optimizer_of, strategy.optimizer, update=update)
        self.optimizer = engine.optimizer(make, list(trained_parameters(model)))
        lengths = workload.sequence_length, workload.target_length
        batch = partial(batch_of, model, source, workload.batching, lengths, backend.device)
        self.inputs = batch(workload.micro_batch_size)
        tensors = ((name, x) for name, x in self.inputs.items() if isinstance(x, torch.Tensor))
        live.label("activations", [(f"{name} of the batch", x, None) for name, x in tensors])
        self.kept: Any = None
        self.model = model
        self.evaluation_inputs = partial(batch, workload.evaluation_batch_size or 0)
        self.forward = forward_of(model, engine.called(model), partial(_autocast, backend.device, engine.autocast))

    def _home(self, name: str) -> Scope | None:
        """Returns the block to which a parameter or buffer belongs."""
        return home_of(name, self.scopes)

    def run(self, progress: Callable[[str], None]) -> None:
        """Runs all steps, with an evaluation after each if the workload asks for it."""
        steps, evaluates = self.workload.optimizer_steps, self.workload.evaluation_batch_size is not None
        for step in range(1, steps + 1):
            progress(f"step {step} of {steps}")
            self.step(step)
            if evaluates and step == steps and self.engine.repeats_after_evaluation:
                self.step(step)
            if evaluates and (step == steps or not self.engine.evaluates_at_end):
                self._evaluate(step)

    def step(self, step: int) -> None:
        """Runs one optimizer step; its number, from 1 on, decides what recorders do."""
        live, micro_batches = self.live, self.micro_batches
        if self.workload.accumulates_last and step < self.workload.optimizer_steps:
            micro_batches = 1
        for number in range(1, micro_batches + 1):
            with self.engine.micro_batch(self.model, last=number == micro_batches):
                self._micro_batch(step)
        live.enter(Phase.OPTIMIZER, step)
        if self.engine.steps_on_gpu and self.workload.updates:
            self.engine.step(self.optimizer)
        if step == 1:
            live.label("optimizer_states", self._states())
            live.settle()
        self.optimizer.zero_grad(set_to_none=True)
        self.engine.after_zeroing(self.model)
        if not self.workload.outputs.facts.in_next_forward:
            live.scope = None
            self.kept = None

    def _micro_batch(self, step: int) -> None:
        """Runs forward and backward once."""
        live = self.live
        live.enter(Phase.FORWARD, step)
        out = self.forward(**self.inputs)
        loss = loss_of(out) / self.micro_batches
        if self.workload.outputs.facts.in_step:
            live.scope = None
            self.kept = out
        del out
        live.enter(Phase.BACKWARD, step)
        self.engine.backward(loss)
        del loss
        live.label("gradients", self.engine.gradients(self.trained))

    def _evaluate(self, step: int) -> None:
        """Evaluates as `Trainer.prediction_step` does for the loss alone; the last training batch is still alive."""
        live = self.live
        self.model.eval()
        live.enter(Phase.EVALUATION, step)
        with torch.no_grad():
            for _ in range(self.engine.evaluations):
                inputs = self.evaluation_inputs()
                out = self.forward(**inputs)
                loss_of(out).detach().mean()
                del inputs, out
        self.model.train()

    def _states(self) -> Iterable[tuple[str, torch.Tensor | None, Scope | None]]:
        """Yields the optimizer's state tensors with their names and blocks."""
        yield from self.engine.states(self.optimizer, self.trained)
        for name, table in getattr(self.optimizer, "tables", {}).items():
            yield f"{name} table of the states", table, None


def _autocast(device: str, dtype: torch.dtype | None, model: Any) -> Any:
    """Wraps a model's forward as accelerate's `prepare_model` does: in autocast, with its outputs converted to fp32."""
    if dtype is None:
        return model
    from accelerate.utils.operations import convert_outputs_to_fp32

    return convert_outputs_to_fp32(torch.autocast(device, dtype=dtype)(model.forward))
