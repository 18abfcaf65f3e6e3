"""Builds each optimizer as a training script does: the real one where it is pure Python that is installed, else a
stand-in that keeps, allocates and frees what the real one does."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from planner.extras import needed_for
from planner.replay.stand_ins.optimizers import AdamMini, BitsAndBytes, CPUOffload, FusedAdam, LowRankAdamW
from planner.replay.structure.parameter_roles import TrainedParameter
from strategies import AnyOptimizer, ContradictionError, Optimizer, Packed, Update

Builder = Callable[[list[TrainedParameter], Any], torch.optim.Optimizer]
"""Makes an optimizer of that kind of facts."""


def optimizer_of(optimizer: AnyOptimizer, trained: list[TrainedParameter], update: Update) -> torch.optim.Optimizer:
    """
    Raises:
        ContradictionError: an optimizer of a plug-in's that has no builder here.
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
    """An optimizer for each parameter, which steps as soon as its gradient is there."""

    def __init__(self, optimizers: dict[torch.nn.Parameter, torch.optim.Optimizer]) -> None:
        super().__init__(list(optimizers), {})
        self.optimizers = optimizers
        for parameter in optimizers:
            parameter.register_post_accumulate_grad_hook(self._update)

    @property
    def tables(self) -> dict[str, torch.Tensor]:
        """Of all of them."""
        found = [getattr(optimizer, "tables", {}) for optimizer in self.optimizers.values()]
        return {f"{i}.{name}": table for i, tables in enumerate(found) for name, table in tables.items()}

    def _update(self, parameter: torch.Tensor) -> None:
        optimizer = self.optimizers[parameter]  # type: ignore[index]  # a hook is given the parameter itself
        optimizer.step()
        optimizer.zero_grad()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no loss to return
        """Nothing is left to do but to say which states there are."""
        for optimizer in self.optimizers.values():
            self.state.update(optimizer.state)


def prepare(optimizer: AnyOptimizer) -> None:
    """Outside of fake tensors, what optimizers compute once from real ones when they are imported or first made."""
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
    hidden = _parameters(t for t in trained if t.role.is_hidden)
    others = _parameters(t for t in trained if not t.role.is_hidden)
    optimizers: list[torch.optim.Optimizer] = [torch.optim.Muon(hidden)] if hidden else []
    if others:
        optimizers.append(torch.optim.AdamW(others, lr=1e-4, fused=True))
    return Several(optimizers)


class Several(torch.optim.Optimizer):
    """Optimizers that step one after the other."""

    def __init__(self, optimizers: list[torch.optim.Optimizer]) -> None:
        super().__init__([p for o in optimizers for group in o.param_groups for p in group["params"]], {})
        self.optimizers = optimizers

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no loss to return
        for optimizer in self.optimizers:
            optimizer.step()
        for optimizer in self.optimizers:
            self.state.update(optimizer.state)


def _torchao(trained: list[TrainedParameter], facts: Any) -> torch.optim.Optimizer:
    """The real states. The step is compiled: in its place stands what the code that torch's inductor writes for a CPU
    allocates (TORCH_LOGS=output_code), for no compiler runs on fake tensors."""
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
    from planner.replay.recording.recorder import local

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
"""How each optimizer is made."""
