"""Stand-ins for liger-kernel's layers: the same allocations, no Triton kernels; installed as its own patches are.

Source: liger_kernel/ops/rms_norm.py, swiglu.py, geglu.py, rope.py; liger_kernel/transformers/monkey_patch.py.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import torch

from planner.libraries.liger_kernel import MULTIPROCESSORS, patch_of
from strategies import Kernels

ROTATION = "apply_rotary_pos_emb"
_replaced: list[tuple[Any, Any]] = []
"""Modules of transformers whose rotation is replaced, with their own."""


class _RMSNorm(torch.autograd.Function):
    """`LigerRMSNormFunction`."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, in_place: bool) -> torch.Tensor:
        shape = x.shape
        x = x.contiguous().view(-1, shape[-1])
        out = torch.empty(x.shape, dtype=x.dtype)
        root = torch.empty(x.shape[0], dtype=torch.float32)
        ctx.save_for_backward(x, weight, root)
        ctx.in_place = in_place
        return out.view(*shape)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, _ = ctx.saved_tensors
        shape = gradient.shape
        gradient = gradient.contiguous().view(-1, shape[-1])
        trains = ctx.needs_input_grad[1]
        sums = torch.empty(MULTIPROCESSORS, x.shape[1], dtype=torch.float32) if trains else None
        of_x = gradient if ctx.in_place else torch.zeros_like(gradient)
        return of_x.view(*shape), None if sums is None else sums.sum(dim=0).to(weight.dtype), None


class _Gated(torch.autograd.Function):
    """`LigerSiLUMulFunction`, `LigerGELUMulFunction`."""

    @staticmethod
    def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        ctx.save_for_backward(gate, up)
        return torch.empty_like(gate)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gradient = gradient.contiguous()
        gate, up = ctx.saved_tensors
        width = gate.shape[-1]
        return gate.view(-1, width).view(gate.shape), up.view(-1, width).view(up.shape)


class _Rotated(torch.autograd.Function):
    """`LigerRopeFunction`; in place in token order."""

    @staticmethod
    def forward(ctx: Any, q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> Any:
        q, k = (x.transpose(1, 2).contiguous() for x in (q, k))
        ctx.save_for_backward(cos.contiguous(), sin.contiguous())
        return q.transpose(1, 2), k.transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, of_q: torch.Tensor, of_k: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        of_q, of_k = (x.transpose(1, 2).contiguous() for x in (of_q, of_k))
        return of_q.transpose(1, 2), of_k.transpose(1, 2), None, None


def _rotated(q: Any, k: Any, cos: Any, sin: Any, *args: Any, **kwargs: Any) -> Any:
    return _Rotated.apply(q, k, cos, sin)


def _mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    """`LigerSwiGLUMLP`, `LigerGEGLUMLP`."""
    out: torch.Tensor = self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x)))
    return out


def _fused_mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    """`LigerPhi3SwiGLUMLP`."""
    up_states = self.gate_up_proj(x)
    gate, up_states = up_states.chunk(2, dim=-1)
    out: torch.Tensor = self.down_proj(_Gated.apply(gate, up_states))
    return out


def patch(model: Any, kernels: Kernels) -> None:
    """The modules of a model that has been built, before it gets adapters, as Trainer does it."""
    if kernels is not Kernels.LIGER:
        return
    in_place = patch_of(model.config.model_type).norm_in_place

    def norm(self: Any, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = _RMSNorm.apply(x, self.weight, in_place)
        return out

    for module in model.modules():
        name = type(module).__name__
        if name.endswith("RMSNorm"):
            module.forward = MethodType(norm, module)
        elif name.endswith("MLP"):
            module.forward = MethodType(_fused_mlp if hasattr(module, "gate_up_proj") else _mlp, module)
    owner = sys.modules[type(model).__module__]
    _replaced.append((owner, getattr(owner, ROTATION)))
    setattr(owner, ROTATION, _rotated)


@contextmanager
def restored() -> Iterator[None]:
    """Gives transformers its own rotation back when the context ends."""
    try:
        yield
    finally:
        while _replaced:
            owner, original = _replaced.pop()
            setattr(owner, ROTATION, original)
