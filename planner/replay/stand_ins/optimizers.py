"""Stands in for optimizers that need a GPU or another package.

They keep, allocate and free what the real ones do.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from planner.replay.structure.parameter_roles import Role, TrainedParameter
from strategies import Blockwise, LowRank


class StandIn(torch.optim.Optimizer):
    """An optimizer that steps one tensor after the other.

    Subclasses step in a loop with the local variables of the real one: Python keeps each alive until the next iteration
    assigns it again.

    Args:
        trained: The parameters that train.
        facts: The facts of the optimizer (`strategies.optimizer`), of the kind that the subclass expects.
    """

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
    """Predicates that say which parameters are in each group of the real optimizer, in the order of its groups."""

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no loss to return
        """Steps every parameter that has a gradient."""
        self._step([group for group in self.param_groups if any(p.grad is not None for p in group["params"])])

    def _step(self, groups: list[dict[str, Any]]) -> None:
        """Steps groups of one parameter each; by default kernels work in place and only states are allocated."""
        for group in groups:
            (p,) = group["params"]
            if not self.state[p]:
                self.state[p].update(self._states(p, group["role"]))

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        """Allocates the states of a parameter."""
        raise NotImplementedError


class FusedAdam(StandIn):
    """apex's FusedAdam with `master_weights`: two moments and a copy of the weights in fp32.

    Its kernels work in place, on lists of tensors (apex/optimizers/fused_adam.py).
    """

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        names = ("exp_avg", "exp_avg_sq", "master_params")
        return {name: torch.zeros_like(p, dtype=torch.float32) for name in names}


class BitsAndBytes(StandIn):
    """An optimizer of bitsandbytes; embeddings have fp32 states, as Trainer sets it.

    Source: bitsandbytes/optim/optimizer.py, `init_state` and `get_state_buffer`. Paged
    states of large tensors are left out: they are in managed memory, which torch does not allocate.
    """

    facts: Blockwise

    def __init__(self, trained: list[TrainedParameter], facts: Any) -> None:
        super().__init__(trained, facts)
        self.tables: dict[str, torch.Tensor] = {}
        """Tables that decode the bytes of 8-bit states (`fill_qmap`).

        One is for all signed states, one for all unsigned states."""

    def _states(self, p: torch.Tensor, role: Role) -> dict[str, torch.Tensor]:
        in_8_bits = self.facts.bits == 8 and p.numel() >= 4096 and not role.is_embedding
        states, kinds = {}, ("dynamic", "udynamic")[: self.facts.states]
        if in_8_bits and not self.tables:
            self.tables = {kind: torch.zeros(256, device=p.device) for kind in kinds}
        for i, _ in enumerate(kinds, 1):
            if not (self.facts.paged and p.numel() >= 100_000):
                states[f"state{i}"] = torch.zeros_like(p, dtype=torch.uint8 if in_8_bits else torch.float32)
            if in_8_bits:
                states[f"absmax{i}"] = torch.zeros(-(-p.numel() // 256))
        return states or {"paged": torch.empty(0)}


class CPUOffload(StandIn):
    """torchao's CPUOffloadOptimizer (torchao/optim/cpu_offload.py).

    States of large tensors are on the host and left out here; small tensors have a fused AdamW on the GPU.
    """

    def __init__(self, trained: list[TrainedParameter], facts: Any) -> None:
        super().__init__(trained, facts)
        small = [t.parameter for t in trained if t.parameter.numel() < facts.smallest]
        self.on_device = torch.optim.AdamW(small, fused=True) if small else None

    def _step(self, groups: list[dict[str, Any]]) -> None:
        if self.on_device is not None:
            self.on_device.step()
            self.state.update(self.on_device.state)


class AdamMini(StandIn):
    """Adam-mini, with one second moment per row (adam_mini/adam_mini.py, `Adam_mini.step`)."""

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
    """GaLore's and APOLLO's AdamW, which makes a new projection at each step.

    The real ones make one at every 200th step. Source: galore_torch/adamw.py and apollo_torch/apollo.py, `AdamW.step`.
    """

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
        """Returns the gradient projected to `rank` columns if it is tall, else to `rank` rows.

        It follows `GradientProjector.project` and `GaLoreProjector.project`, of type "std".
        """
        tall = grad.shape[0] >= grad.shape[1]
        make = self._random if self.facts.scales else self._decomposed
        state["projection"] = make(grad, tall)
        return torch.matmul(grad, state["projection"].t()) if tall else torch.matmul(state["projection"].t(), grad)

    def _random(self, grad: torch.Tensor, tall: bool) -> torch.Tensor:
        """Makes APOLLO's random projection, `[rank, columns]` if the gradient is tall, else `[rows, rank]`."""
        matrix = grad.float()
        rank, (rows, columns) = self.facts.rank, matrix.shape
        projection = torch.randn((rank, columns) if tall else (rows, rank)) / math.sqrt(rank)
        return projection.to(grad.dtype)

    def _decomposed(self, grad: torch.Tensor, tall: bool) -> torch.Tensor:
        """Makes GaLore's projection by SVD, in the shapes of `_random`.

        cuSOLVER works on a copy, which it destroys (ATen, BatchLinearAlgebraLib.cpp, `svd_cusolver`).
        """
        matrix, rank = grad.float(), self.facts.rank
        copy = matrix.clone()
        u, s, vh = torch.linalg.svd(matrix, full_matrices=False)
        del copy
        if tall:
            _a = u[:, :rank] @ torch.diag(s[:rank])
            kept: torch.Tensor = vh[:rank, :]
            return kept.to(grad.dtype)
        _b = torch.diag(s[:rank]) @ vh[:rank, :]
        kept = u[:, :rank]
        return kept.to(grad.dtype)

    @staticmethod
    def _scale(norm_grad: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        """Returns APOLLO's scale of each channel.

        The real APOLLO-Mini has a single scale, a scalar, for the whole tensor.
        """
        dim = 0 if norm_grad.shape[0] < norm_grad.shape[1] else 1
        factor: torch.Tensor = torch.norm(norm_grad, dim=dim) / (torch.norm(grad, dim=dim) + 1e-8)
        return factor.unsqueeze(1) if dim else factor

    @staticmethod
    def _whole(low: torch.Tensor, p: torch.Tensor, projection: torch.Tensor) -> torch.Tensor:
        """Returns a low-rank update in the shape of the parameter (`project_back`)."""
        tall = p.shape[0] >= p.shape[1]
        whole = torch.matmul(low, projection) if tall else torch.matmul(projection, low)
        return whole * 0.25
