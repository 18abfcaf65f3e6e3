"""Stands in for liger-kernel's layers, installed as its own patches are: the same allocations, no Triton kernels.

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
"""Name of the function that rotates queries and keys in transformers' modeling files."""
_replaced: list[tuple[Any, Any]] = []
"""Modeling modules of transformers whose rotation is replaced, each with its original function."""


class _RMSNorm(torch.autograd.Function):
    """Stands in for `LigerRMSNormFunction`: saves its input, its weight and an fp32 number per row.

    With `in_place` the gradient of the input overwrites that of the output.
    """

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
    """Stands in for `LigerSiLUMulFunction` and `LigerGELUMulFunction`, whose gradients overwrite the saved tensors."""

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
    """Stands in for `LigerRopeFunction`, which rotates in place what it has put into token order."""

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
    """Replaces transformers' `apply_rotary_pos_emb`; q and k are `[batch, heads, tokens, head_dim]`."""
    return _Rotated.apply(q, k, cos, sin)


def _mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Runs an MLP as `LigerSwiGLUMLP` and `LigerGEGLUMLP` do."""
    out: torch.Tensor = self.down_proj(_Gated.apply(self.gate_proj(x), self.up_proj(x)))
    return out


def _fused_mlp(self: Any, x: torch.Tensor) -> torch.Tensor:
    """Runs an MLP with one projection for gate and up as `LigerPhi3SwiGLUMLP` does."""
    up_states = self.gate_up_proj(x)
    gate, up_states = up_states.chunk(2, dim=-1)
    out: torch.Tensor = self.down_proj(_Gated.apply(gate, up_states))
    return out


def patch(model: Any, kernels: Kernels) -> None:
    """Replaces norms, MLPs and the rotation of a model, if the kernels are liger-kernel's.

    As in Trainer, the model has been built already, and has no adapters yet. The rotation is a function of the modeling
    module: `restored` puts the original back.
    """
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
    """Puts transformers' own rotation functions back when the context ends."""
    try:
        yield
    finally:
        while _replaced:
            owner, original = _replaced.pop()
            setattr(owner, ROTATION, original)
