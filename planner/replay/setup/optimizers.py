"""Builds each optimizer as a training script does.

It is the real one where that is pure Python and installed, else a stand-in that keeps, allocates and frees what the
real one does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from planner.extras import needed_for
from planner.replay.stand_ins.optimizers import AdamMini, BitsAndBytes, CPUOffload, FusedAdam, LowRankAdamW
from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import AnyOptimizer, ContradictionError, Optimizer, Packed, Update

Builder = Callable[[list[TrainedParameter], Any], torch.optim.Optimizer]
"""A function that makes an optimizer for trained parameters, from the optimizer's facts (`strategies.optimizer`)."""


def optimizer_of(optimizer: AnyOptimizer, trained: list[TrainedParameter], update: Update) -> torch.optim.Optimizer:
    """Builds the optimizer of a strategy.

    Args:
        optimizer: The choice, with its facts.
        trained: The trained parameters.
        update: Whether it steps after backward, or for each parameter in backward.

    Raises:
        ContradictionError: A plug-in added the optimizer without a builder.
    """
    if (build := BUILDERS.get(optimizer.choice)) is None:
        raise ContradictionError(
            f"{optimizer.choice} cannot be replayed: nothing says how to build it",
            "a plug-in adds a builder to planner.replay.setup.optimizers.BUILDERS",
        )
    if update is Update.IN_BACKWARD:
        return InBackward({t.parameter: build([t], optimizer.facts) for t in trained})
    return build(trained, optimizer.facts)


class InBackward(torch.optim.Optimizer):
    """Steps each parameter in backward, as soon as its gradient is there.

    Args:
        optimizers: An optimizer for each parameter.
    """

    def __init__(self, optimizers: dict[torch.nn.Parameter, torch.optim.Optimizer]) -> None:
        super().__init__(list(optimizers), {})
        self.optimizers = optimizers
        for parameter in optimizers:
            parameter.register_post_accumulate_grad_hook(self._update)

    @property
    def tables(self) -> dict[str, torch.Tensor]:
        """The tables of 8-bit states of all these optimizers, by number and name."""
        found = [getattr(optimizer, "tables", {}) for optimizer in self.optimizers.values()]
        return {f"{i}.{name}": table for i, tables in enumerate(found) for name, table in tables.items()}

    def _update(self, parameter: torch.Tensor) -> None:
        """Steps a parameter and frees its gradient."""
        optimizer = self.optimizers[parameter]  # type: ignore[index]  # a hook is given the parameter itself
        optimizer.step()
        optimizer.zero_grad()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no loss to return
        """Collects the states: the parameters have been updated in backward."""
        for optimizer in self.optimizers.values():
            self.state.update(optimizer.state)


def prepare(optimizer: AnyOptimizer) -> None:
    """Computes, outside of fake tensors, what optimizers make once from real ones.

    They do so when they are imported or first built.

    Raises:
        MissingExtraError: torchao is not installed, and the optimizer needs it.
    """
    if optimizer.choice is Optimizer.ADAFACTOR:
        import transformers.optimization  # noqa: F401
    if isinstance(optimizer.facts, Packed):
        with needed_for("a replay of torchao's optimizers", "verify"):
            from torchao.optim import subclass_4bit, subclass_8bit
        for module in (subclass_4bit, subclass_8bit):
            module.get_qmap_signed(), module.get_qmap_unsigned()


def _parameters(trained: Iterable[TrainedParameter]) -> list[torch.nn.Parameter]:
    return [t.parameter for t in trained]


# --- the real ones ---


def _adamw(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_parameters(trained), lr=1e-4, fused=True)


def _adamw_foreach(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(_parameters(trained), lr=1e-4, foreach=True)


def _adafactor(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    from transformers import Adafactor

    options = {"lr": 1e-3, "scale_parameter": False, "relative_step": False}
    optimizer: torch.optim.Optimizer = Adafactor(_parameters(trained), **options)
    return optimizer


def _sgd(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(_parameters(trained), lr=1e-2, momentum=0.9 if facts.states else 0.0, foreach=True)


def _muon(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    """Makes Muon for the matrices in the blocks, and AdamW for all other parameters."""
    hidden = _parameters(t for t in trained if t.role.is_hidden)
    others = _parameters(t for t in trained if not t.role.is_hidden)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Muon(hidden)] if hidden else []
    if others:
        optimizers.append(torch.optim.AdamW(others, lr=1e-4, fused=True))
    return Several(optimizers)


class Several(torch.optim.Optimizer):
    """Steps several optimizers one after the other, as one with a single parameter group."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        super().__init__([p for o in optimizers for group in o.param_groups for p in group["params"]], {})
        self.optimizers = optimizers

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no loss to return
        """Steps each optimizer, then collects their states."""
        for optimizer in self.optimizers:
            optimizer.step()
        for optimizer in self.optimizers:
            self.state.update(optimizer.state)


def _torchao(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    """Makes torchao's AdamW with its real states and a stand-in for its compiled step.

    No compiler runs on fake tensors. The stand-in allocates what the code that inductor writes for a CPU does
    (TORCH_LOGS=output_code).
    """
    from torchao.optim import AdamW4bit, AdamW8bit

    kind = AdamW8bit if facts.bits == 8 else AdamW4bit

    class Compiled(kind):  # type: ignore[misc, valid-type]  # one of two classes
        @torch.no_grad()
        def step(self, closure: Any = None) -> None:
            for p in self.param_groups[0]["params"]:
                if p.grad is None:
                    continue
                if not self.state[p]:
                    self.state[p].update(exp_avg=self._new_buffer(p, True), exp_avg_sq=self._new_buffer(p, False))
                _compiled(p, facts)

    optimizer: torch.optim.Optimizer = Compiled(_parameters(trained), lr=1e-4, block_size=256)
    return optimizer


def _compiled(p: torch.Tensor, facts: Any) -> None:
    """Allocates the buffers of the compiled step for one parameter; there are none where states stay unquantized."""
    from planner.replay.recording.tensors import local

    new_empty = local(p).new_empty
    elements = local(p).numel()
    if elements < 4096 or elements % 256:
        return
    buffers = []
    for _ in range(facts.states):
        buffers += [new_empty(elements, dtype=torch.float32), new_empty(elements // 256, dtype=torch.float32)]
        if facts.bits == 4:
            buffers += [new_empty(elements, dtype=torch.uint8), new_empty(elements, dtype=torch.int64)]


BUILDERS: dict[Optimizer, Builder] = {
    Optimizer.ADAMW: _adamw,
    Optimizer.ADAMW_FOREACH: _adamw_foreach,
    Optimizer.ADAMW_FP32_MASTER: FusedAdam,
    Optimizer.ADAMW_8BIT: BitsAndBytes,
    Optimizer.PAGED_ADAMW_8BIT: BitsAndBytes,
    Optimizer.PAGED_ADAMW_32BIT: BitsAndBytes,
    Optimizer.LION: BitsAndBytes,
    Optimizer.LION_8BIT: BitsAndBytes,
    Optimizer.ADAMW_8BIT_TORCHAO: _torchao,
    Optimizer.ADAMW_4BIT: _torchao,
    Optimizer.ADAMW_OFFLOAD: CPUOffload,
    Optimizer.ADAFACTOR: _adafactor,
    Optimizer.MUON: _muon,
    Optimizer.ADAM_MINI: AdamMini,
    Optimizer.GALORE: LowRankAdamW,
    Optimizer.APOLLO: LowRankAdamW,
    Optimizer.APOLLO_MINI: LowRankAdamW,
    Optimizer.SGD: _sgd,
    Optimizer.SGD_MOMENTUM: _sgd,
}
"""The builder of each optimizer; a plug-in adds its own."""
