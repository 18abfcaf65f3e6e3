"""Stand-in for Apple's cut cross-entropy: the allocations of its Python code, without the kernels of Triton's.

Source: github.com/apple/ml-cross-entropy d42911f, cut_cross_entropy/cce.py, cce_lse_forward.py, cce_backward.py,
indexed_dot.py, utils.py. Kernels write into what they are given and allocate nothing. Local variables whose names begin
with an underscore stand for tensors that the real code holds at that point.
"""

from __future__ import annotations

from typing import Any

import torch

from planner.replay.stand_ins.losses.chunked import Kernels


def _cast(x: torch.Tensor) -> torch.Tensor:
    return x.to(torch.get_autocast_dtype("cpu")) if torch.is_autocast_enabled("cpu") else x


class _LinearCrossEntropy(torch.autograd.Function):
    """Stands in for `LinearCrossEntropyFunction`, with filtered gradients and no sums in fp32, its defaults."""

    @staticmethod
    def forward(
        ctx: Any, e: torch.Tensor, c: torch.Tensor, targets: torch.Tensor, valids: torch.Tensor
    ) -> torch.Tensor:
        ctx.dtypes = e.dtype, c.dtype
        e, c = _cast(e), _cast(c)
        found = valids.numel()
        lse = e.new_full((found,), -torch.inf, dtype=torch.float32)
        locks = e.new_full((-(-found // 128),), 0, dtype=torch.int32)
        logit_avg = e.new_full((c.shape[0],), 0.0, dtype=torch.float32)
        del locks
        nll = e.new_zeros((found,), dtype=torch.float32).add_(lse)
        ctx.save_for_backward(e, c, lse, targets, valids, logit_avg)
        return nll.sum()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        e, c, lse, _targets, _valids, logit_avg = ctx.saved_tensors
        _order = torch.argsort(logit_avg).to(torch.int32)
        of_e, of_c = ctx.needs_input_grad[:2]
        de = torch.zeros_like(e) if of_e else None
        dc = torch.zeros_like(c) if of_c else None
        columns = -(-c.shape[1] // 64)
        locks = [
            e.new_zeros((-(-rows // 128), columns), dtype=torch.int32)
            for rows, needed in ((lse.numel(), of_e), (c.shape[0], of_c))
            if needed
        ]
        del locks
        if dc is not None:
            dc = dc.to(ctx.dtypes[1])
        if de is not None:
            de = de.to(ctx.dtypes[0])
        return de, dc, None, None


def _positions(labels: torch.Tensor) -> torch.Tensor:
    """Stands in for `_build_flat_valids` where all labels count: the real one asks the device how many there are."""
    mask = labels[..., 1:] != -100
    found = torch.empty(mask.numel(), 2, dtype=torch.int64)
    del mask
    short = found.to(torch.int32)
    del found
    return short.sum(1)


def cut_loss(x: torch.Tensor, head: Any, labels: torch.Tensor, kernels: Kernels) -> torch.Tensor:
    """Computes the loss as `apply_lce` does (cut_cross_entropy/transformers/utils.py), with shifted labels."""
    out: torch.Tensor = _LinearCrossEntropy.apply(x.flatten(0, -2), head.weight, labels.flatten(), _positions(labels))
    return out
