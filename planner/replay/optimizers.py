"""Builds each optimizer as a training script does: the real one where it is pure Python that is installed, else a
stand-in that keeps, allocates and frees what the real one does."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch

from planner.extras import needed_for
from planner.replay.roles import Role, TrainedParameter
from strategies import AnyOptimizer, Blockwise, ContradictionError, LowRank, Optimizer, Packed, Update

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
            "a plug-in adds a builder to planner.replay.optimizers.BUILDERS",
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

    def _update(self, parameter: torch.Tensor) -> None:
        optimizer = self.optimizers[parameter]  # type: ignore[index]  # a hook is given the parameter itself
        optimizer.step()
        optimizer.zero_grad()

    def step(self, closure: Any = None) -> None:
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

    def step(self, closure: Any = None) -> None:
        for optimizer in self.optimizers:
            optimizer.step()
        for optimizer in self.optimizers:
            self.state.update(optimizer.state)


# --- stand-ins ---


class StandIn(torch.optim.Optimizer):
    """Steps one tensor after the other within a loop, whose local variables live on as Python's do."""

    def __init__(self, trained: list[TrainedParameter], facts: Any) -> None:
        groups = [
            {"params": [t.parameter], "name": t.name, "role": t.role}
            for is_in in self.groups
            for t in trained
            if is_in(t)
        ]
        super().__init__(groups, {})
        self.facts = facts

    groups: tuple[Callable[[TrainedParameter], bool], ...] = (lambda t: True,)
    """Which parameters are in each group of the real one."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        self._step([group for group in self.param_groups if group["params"][0].grad is not None])

    def _step(self, groups: list[dict[str, Any]]) -> None:
        """By default the kernels work in place, and only states are made."""
        for group in groups:
            (p,) = group["params"]
            if not self.state[p]:
                self.state[p].update(self._states(p, group["role"]))

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        raise NotImplementedError


class FusedAdam(StandIn):
    """apex/optimizers/fused_adam.py with `master_weights`: kernels on lists of tensors, in place."""

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        names = ("exp_avg", "exp_avg_sq", "master_params")
        return {name: torch.zeros_like(p, dtype=torch.float32) for name in names}


class BitsAndBytes(StandIn):
    """bitsandbytes/optim/optimizer.py, `init_state` and `get_state_buffer`, with Trainer's 32 bits for embeddings. Pages
    of managed memory are not torch's."""

    facts: Blockwise

    def __init__(self, trained: list[TrainedParameter], facts: Any) -> None:
        super().__init__(trained, facts)
        self.tables: list[torch.Tensor] = []

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        in_8_bits = self.facts.bits == 8 and p.numel() >= 4096 and not role.is_embedding
        states, numbers = {}, range(1, 1 + self.facts.states)
        if in_8_bits and not self.tables:
            self.tables = [torch.zeros(256) for _ in numbers]
        for i in numbers:
            if not (self.facts.paged and p.numel() >= 100_000):
                states[f"state{i}"] = torch.zeros_like(p, dtype=torch.uint8 if in_8_bits else torch.float32)
            if in_8_bits:
                states[f"absmax{i}"] = torch.zeros(-(-p.numel() // 256))
        return states or {"paged": torch.empty(0)}


class CPUOffload(StandIn):
    """torchao/optim/cpu_offload.py: states of large tensors are on the host, small tensors have a fused AdamW."""

    def __init__(self, trained: list[TrainedParameter], facts: Any) -> None:
        super().__init__(trained, facts)
        small = [t.parameter for t in trained if t.parameter.numel() < facts.smallest]
        self.on_device = torch.optim.AdamW(small, fused=True) if small else None

    def _step(self, groups: list[dict[str, Any]]) -> None:
        if self.on_device is not None:
            self.on_device.step()
            self.state.update(self.on_device.state)


class AdamMini(StandIn):
    """adam_mini/adam_mini.py, `Adam_mini.step`."""

    def _step(self, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            (p,) = group["params"]
            state, grad = self.state[p], p.grad
            if group["name"].endswith("bias"):
                if not state:
                    state.update(m=torch.zeros_like(p), v=torch.zeros_like(p))
                state["v"].mul_(0.999).addcmul_(grad, grad, value=0.001)
                state["m"].lerp_(grad, 0.1)
                h = (state["v"].sqrt() / 0.5).add_(1e-8)
                p.addcdiv_(state["m"], h, value=-1e-4)
                continue
            if not state:
                state["m"] = torch.zeros_like(p)
                state["vmean"] = torch.zeros_like(state["m"][:, 0:1] if p.dim() > 1 else torch.sum(p * p))
            mean = torch.mean(grad * grad, dim=1, keepdim=True) if p.dim() > 1 else torch.sum(grad * grad)
            state["vmean"].mul_(0.999).add_(mean, alpha=0.001)
            state["m"].lerp_(grad, 0.1)
            h = (state["vmean"].sqrt() / 0.5).add_(1e-8)
            step = 2.0 / h
            update = state["m"] * step
            update.mul_(1e-4)
            p.add_(-update)


class LowRankAdamW(StandIn):
    """galore_torch/adamw.py and apollo_torch/apollo.py, `AdamW.step`, with a new projection at each step; they make one
    at every 200th."""

    facts: LowRank
    groups = (lambda t: not t.role.is_linear, lambda t: t.role.is_linear)

    def _step(self, groups: list[dict[str, Any]]) -> None:
        for group in groups:
            (p,) = group["params"]
            state, grad = self.state[p], p.grad
            if group["role"].is_linear:
                grad = self._projected(grad, state)
            if "exp_avg" not in state:
                state["exp_avg"] = torch.zeros_like(grad)
                state["exp_avg_sq"] = torch.zeros_like(grad)
            exp_avg, exp_avg_sq = state["exp_avg"], state["exp_avg_sq"]
            exp_avg.mul_(0.9).add_(grad, alpha=0.1)
            exp_avg_sq.mul_(0.999).addcmul_(grad, grad, value=0.001)
            denom = exp_avg_sq.sqrt().add_(1e-8)
            norm_grad = exp_avg / denom
            if group["role"].is_linear and self.facts.scales:
                scaled_grad = p.grad * self._scale(norm_grad, grad)
                norm = torch.norm(scaled_grad)
                if "scaled_grad" in state:
                    limiter = norm / (state["scaled_grad"] + 1e-8)
                    scaled_grad = scaled_grad / limiter
                    state["scaled_grad"] = norm / limiter
                else:
                    state["scaled_grad"] = norm
                norm_grad = scaled_grad
                norm_grad *= 1.0
            elif group["role"].is_linear:
                norm_grad = self._whole(norm_grad, p, state["projection"])
            p.add_(norm_grad, alpha=-1e-4)

    def _projected(self, grad: torch.Tensor, state: dict[str, Any]) -> torch.Tensor:
        """`GradientProjector.project` and `GaLoreProjector.project`, of type "std"."""
        tall = grad.shape[0] >= grad.shape[1]
        make = self._random if self.facts.scales else self._decomposed
        state["projection"] = make(grad, tall)
        return torch.matmul(grad, state["projection"].t()) if tall else torch.matmul(state["projection"].t(), grad)

    def _random(self, grad: torch.Tensor, tall: bool) -> torch.Tensor:
        matrix = grad.float()
        rank, (rows, columns) = self.facts.rank, matrix.shape
        projection = torch.randn((rank, columns) if tall else (rows, rank)) / math.sqrt(rank)
        return projection.to(grad.dtype)

    def _decomposed(self, grad: torch.Tensor, tall: bool) -> torch.Tensor:
        """cuSOLVER works on a copy, which it destroys (ATen, BatchLinearAlgebraLib.cpp, `svd_cusolver`)."""
        matrix, rank = grad.float(), self.facts.rank
        copy = matrix.clone()
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        del copy
        if tall:
            _a = u[:, :rank] @ torch.diag(s[:rank])
            return vh[:rank, :].to(grad.dtype)
        _b = torch.diag(s[:rank]) @ vh[:rank, :]
        return u[:, :rank].to(grad.dtype)

    @staticmethod
    def _scale(norm_grad: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Of each channel; APOLLO-Mini's is of the whole tensor, a scalar."""
        dim = 0 if norm_grad.shape[0] < norm_grad.shape[1] else 1
        factor = torch.norm(norm_grad, dim=dim) / (torch.norm(grad, dim=dim) + 1e-8)
        return factor.unsqueeze(1) if dim else factor

    @staticmethod
    def _whole(low: torch.Tensor, p: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
        """`project_back`."""
        tall = p.shape[0] >= p.shape[1]
        whole = torch.matmul(low, projection) if tall else torch.matmul(projection, low)
        return whole * 0.25


# --- torchao ---


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
    from planner.replay.live import local

    elements = local(p).numel()
    if elements < 4096 or elements % 256:
        return
    buffers = []
    for _ in range(facts.states):
        buffers += [torch.empty(elements), torch.empty(elements // 256)]
        if facts.bits == 4:
            buffers += [torch.empty(elements, dtype=torch.uint8), torch.empty(elements, dtype=torch.int64)]


BUILDERS: dict[Optimizer, Builder] = {
    Optimizer.ADAMW: _adamw,
    Optimizer.ADAMW_FOREACH: _adamw_foreach,
    Optimizer.ADAMW_FP32_MASTER: FusedAdam,
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
"""How each optimizer is made; adamw-8bit is not replayed (`planner.certify.obstacle_to_replay`)."""
