"""Stands in for flash-linear-attention's kernels of the gated delta rule, which transformers calls if they are there.

Without them transformers loops over chunks in PyTorch and warns that this is much slower. The stand-in allocates and
saves what the kernels do, and counts their products. Sources: flash-linear-attention, fla/ops/gated_delta_rule/chunk.py
`ChunkGatedDeltaRuleFunction`, wy_fast.py, fla/ops/common/chunk_delta_h.py and chunk_o.py; transformers,
integrations/hub_kernels.py `use_kernel_func_from_hub_with_fallback`.

Queries and keys are `[batch, tokens, heads, K]`, values `[batch, tokens, value heads, V]`, decays and betas
`[batch, tokens, value heads]`.
"""

from __future__ import annotations

from typing import Any

import torch

from hardware import PlannerError
from planner.replay.stand_ins.counted import counted_forward, counted_like
from planner.replay.stand_ins.fused import Fused

PACKAGE = "flash-linear-attention"
"""Distribution of the kernels."""

CHUNK = 64
"""Tokens of a chunk (fla/ops/gated_delta_rule/chunk.py, `chunk_size=64`)."""


def _forward_flops(value: torch.Tensor, keys: int) -> int:
    """Returns the FLOPs of forward.

    For each token and value head: products of keys within the chunk, those that make w and u, the update of the state,
    and the output, from the state and from within the chunk.
    """
    size = value.shape[-1]
    return 2 * value.numel() // size * (CHUNK * keys + CHUNK * (keys + size) + 2 * keys * size + _output(keys, size))


def _output(keys: int, size: int) -> int:
    return keys * size + CHUNK * (keys + size)


class _Rule(torch.autograd.Function):
    """Allocates what the kernels do, with the locals of their functions."""

    @staticmethod
    def forward(ctx: Any, q: Any, k: Any, v: Any, g: Any, beta: Any) -> torch.Tensor:
        """Saves normalized queries and keys, values, decays summed within chunks, betas, and a matrix per chunk."""
        _given = q, k, v, g, beta = tuple(x.contiguous() for x in (q, k, v, g, beta))
        q, q_rstd = torch.empty_like(q), q.new_empty(q.shape[:-1], dtype=torch.float32)
        k, k_rstd = torch.empty_like(k), k.new_empty(k.shape[:-1], dtype=torch.float32)
        g = torch.empty_like(g, dtype=torch.float32)
        chunks = torch.empty((*g.shape, CHUNK), dtype=torch.float32)
        chunks = torch.empty_like(chunks, dtype=k.dtype)
        _w, _u, _h, new = _states(k, v)
        out = counted_forward(new, _forward_flops(v, k.shape[-1]))
        ctx.save_for_backward(q, q_rstd, k, k_rstd, v, g, beta, chunks)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Computes w, u and the states again, then gradients of each."""
        q, _, k, _, v, g, beta, _ = ctx.saved_tensors
        gradient = gradient.contiguous()
        w, _u, h, _new = _states(k, v)
        size, keys = v.shape[-1], k.shape[-1]
        # Each product has two gradients, and w, u and the states are made again.
        again = 2 * v.numel() // size * (CHUNK * (keys + size) + 2 * keys * size)
        flops = again + 2 * _forward_flops(v, keys)
        dv = torch.empty_like(gradient)
        _dh, dv = torch.empty_like(h), torch.empty_like(dv)
        dq, dk = (x.new_empty(*v.shape[:-1], keys) for x in (q, k))
        dg, _dw = torch.empty((-(-keys // CHUNK), *g.shape), dtype=torch.float32), torch.empty_like(w)
        if q.shape[2] != v.shape[2]:
            dq, dk = (x.new_empty(q.shape) for x in (dq, dk))
        dg = torch.empty_like(g)
        _dk2, dv = torch.empty_like(w), counted_like(v, flops)
        db, _dg2 = torch.empty_like(beta, dtype=torch.float32), torch.empty_like(g)
        dg = torch.empty_like(dg)
        del w, _u, h, _new, _dh, _dw, _dk2, _dg2  # the kernels' function has returned
        dq, dk = torch.empty_like(dq), torch.empty_like(dk)
        return dq, dk, dv, dg, db.to(beta.dtype)


def _states(k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Allocates w, u, the state before each chunk, and the new values."""
    batch, tokens, heads, size = v.shape
    w, u = k.new_empty(batch, tokens, heads, k.shape[-1]), torch.empty_like(v)
    return w, u, k.new_empty(batch, -(-tokens // CHUNK), heads, k.shape[-1], size), torch.empty_like(u)


def _rule(query: Any, key: Any, value: Any, g: Any, beta: Any, **options: Any) -> tuple[torch.Tensor, None]:
    """Replaces the function in transformers' modeling files.

    Raises:
        PlannerError: The inputs are in fp32, which the kernels refuse.
    """
    if query.dtype is torch.float32:
        given = "products in fp32 and a quantized base with the rest in fp32 give it"
        raise PlannerError(f"{PACKAGE}'s gated delta rule does not run in fp32, which {given}")
    return _Rule.apply(query, key, value, g, beta), None


RULE = Fused("torch_chunk_gated_delta_rule", _rule, PACKAGE)
