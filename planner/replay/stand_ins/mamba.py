"""Stands in for mamba-ssm's fused block of Mamba 2, which transformers calls in training if it is there.

Without it transformers runs every product of a chunk in PyTorch and warns that this is much slower. The stand-in
allocates and saves what the kernels do, reads and writes what they do, and counts their products. It covers everything
from the input projection's result to the block's: convolution, scan, gated norm and output projection. Sources:
mamba-ssm, mamba_ssm/ops/triton/ssd_combined.py `MambaSplitConv1dScanCombinedFn`, `_mamba_chunk_scan_combined_fwd` and
`_mamba_chunk_scan_combined_bwd`, and what they call in ssd_chunk_state.py, ssd_chunk_scan.py, ssd_state_passing.py,
ssd_bmm.py and layernorm_gated.py; causal-conv1d, causal_conv1d/cpp_functions.py.

Left out is what depends on the number of the GPU's multiprocessors: partial sums over heads where a micro-batch has few
chunks, and of the norm's weight (tens of MiB at most, for a moment within backward).

Shapes are named by letters: b samples, s tokens, h heads of p elements, g groups of n states, c chunks of q tokens.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch.nn import functional

from planner.replay.stand_ins.fused import Fused, kernel

FP32 = torch.float32

MULTIPLE = 8
"""What the distance between tokens has to be a multiple of for the convolution (`ensure_stride`)."""

ROWS = 32
"""Rows of the smallest block of a chunk, for each of which a partial sum is made (`BLOCK_SIZE_min`)."""

STATES = 64
"""Elements of the smallest block of a state, likewise (`_state_passing_bwd`)."""


class _Sizes(NamedTuple):
    b: int
    s: int
    h: int
    p: int
    g: int
    n: int
    q: int

    @property
    def c(self) -> int:
        return -(-self.s // self.q)

    @property
    def by_chunk(self) -> tuple[int, ...]:
        """Shape of a number for each token and head, chunk by chunk."""
        return self.b, self.h, self.c, self.q

    @property
    def states(self) -> tuple[int, ...]:
        """Shape of the states before each chunk."""
        return self.b, self.c, self.h, self.p, self.n

    @property
    def scores(self) -> tuple[int, ...]:
        """Shape of the products of C and B within each chunk."""
        return self.b, self.c, self.g, self.q, self.q

    @property
    def flops(self) -> int:
        """FLOPs of a scan: C times B, the states, and the output from the states and from within the chunk."""
        b, s, h, p, g, n, q = self
        return 2 * b * s * (g * q * n + h * (p * n + p * n + p * q))


def _convolved(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns the result of the convolution, `[b, s, channels]`."""
    x = x if x.stride(1) % MULTIPLE == 0 else x.contiguous()
    return kernel([x, weight], x.shape, x.dtype)


def _scan(x: Any, dt: Any, b: Any, c: Any, z: Any, sizes: _Sizes) -> tuple[torch.Tensor, ...]:
    """Scans forward; returns all that the kernels' function returns, which lives as long as its caller's locals."""
    decays, steps = kernel([dt], sizes.by_chunk, FP32), dt.new_empty(sizes.by_chunk, dtype=FP32)
    states = kernel([b, x, steps, decays], sizes.states, FP32)
    states, last = _passed(states, c.dtype)
    scores = kernel([c, b], sizes.scores, FP32)
    out = kernel([scores, x, steps, decays, c, states], x.shape, x.dtype, sizes.flops)
    return out, out if z is None else torch.empty_like(out), steps, decays, states, last


def _passed(states: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Passes states from chunk to chunk; returns those before each chunk, and the last ones."""
    return kernel([states], states.shape, dtype), states.new_empty((states.shape[0], *states.shape[2:]), dtype=FP32)


def _scan_backward(
    gradient: Any, x: Any, dt: Any, b: Any, c: Any, z: Any, out: Any, sizes: _Sizes
) -> tuple[torch.Tensor | None, tuple[torch.Tensor, ...]]:
    """Computes the gradients of a scan, most of them into tensors that the caller has.

    Returns:
        The gated output, made again, if there is a gate; and the small gradients.
    """
    dt = dt.clone()
    decays, steps = kernel([dt], sizes.by_chunk, FP32), dt.new_empty(sizes.by_chunk, dtype=FP32)
    scores = kernel([c, b], sizes.scores, FP32)
    states = kernel([b, x, steps, decays], sizes.states, FP32)
    states, _last = _passed(states, FP32)
    again = None
    if z is not None:
        sums = x.new_empty((-(-sizes.q // ROWS), sizes.b, sizes.c, sizes.h, 1), dtype=FP32)
        again = kernel([gradient, out, z, x], x.shape, x.dtype)
        gradient = torch.empty_like(gradient)
        _d_gated = sums.sum(dim=(0, 1, 2))
        del sums
    d_states = kernel([c, decays, gradient], sizes.states, FP32)
    # All products of a scan have two gradients, and but for the output they are made again.
    flops = 3 * sizes.flops - 2 * sizes.b * sizes.s * sizes.h * sizes.p * (sizes.n + sizes.q)
    d_states, d_decay, states = _passed_backward(states, d_states, x.dtype, sizes, flops)
    sums = x.new_zeros((-(-sizes.q // ROWS), sizes.b, sizes.c, sizes.h, 1), dtype=FP32)
    d_steps = kernel([x, scores, gradient, steps, decays, b, d_states], sizes.by_chunk, FP32)
    d_skip = sums.sum(dim=(0, 1, 2)).sum(dim=-1)
    del sums
    of_groups = (sizes.b, sizes.s, 1, sizes.g, sizes.n)
    d_next = x.new_empty(sizes.by_chunk, dtype=FP32)
    d_b = kernel([x, steps, decays, d_states, b], of_groups, FP32).sum(2)
    d_previous = x.new_empty(sizes.by_chunk, dtype=FP32)
    d_c = kernel([states, decays, gradient, c], of_groups, FP32).sum(2)
    d_scores = kernel([x, steps, decays, gradient], (sizes.b, sizes.c, 1, *sizes.scores[2:]), FP32).sum(2)
    del d_b, d_c, d_scores
    d_previous[..., -1] += d_decay
    d_before = d_previous.flip([-1]).cumsum(dim=-1).flip([-1])
    d_decays = kernel([x, steps, decays, gradient, scores], (*sizes.by_chunk[:3], -(-sizes.q // ROWS), sizes.q), FP32)
    d_decays = d_decays.sum(dim=3)
    d_decays += d_next + d_before
    d_bias = kernel([d_decays, d_steps, dt], (sizes.h,), FP32)
    return again, (d_skip, torch.empty_like(d_bias), d_bias)


def _passed_backward(
    states: torch.Tensor, gradient: torch.Tensor, dtype: torch.dtype, sizes: _Sizes, flops: int
) -> tuple[torch.Tensor, ...]:
    """Passes the gradients of states from chunk to chunk."""
    passed = kernel([gradient, states], sizes.states, dtype, flops)
    converted = states if states.dtype is dtype else torch.empty_like(states, dtype=dtype)
    sums = states.new_empty((sizes.b, sizes.h, sizes.c, -(-sizes.p * sizes.n // STATES)), dtype=FP32)
    return passed, sums.sum(dim=-1), converted


class _Block(torch.autograd.Function):
    """Allocates what the kernels do, with the locals of their functions."""

    @staticmethod
    @torch.amp.custom_fwd(device_type="cpu")  # type: ignore[untyped-decorator]  # the replay's device
    def forward(
        ctx: Any, zxbcdt: Any, conv: Any, conv_bias: Any, dt_bias: Any, a: Any, d: Any, chunk: int, norm: Any,
        weight: Any, bias: Any, head_dim: int, groups: int,
    ) -> torch.Tensor:  # fmt: skip
        """Saves the projected input, the scan's output and the norm's reciprocal roots."""
        sizes = _sizes(zxbcdt, conv, d, chunk, head_dim, groups)
        z, xbc, dt = _split(zxbcdt, sizes)
        _xbc_conv = _convolved(xbc, conv)
        x, b, c = _heads(_xbc_conv, sizes)
        z, rstd = z.unflatten(-1, (sizes.h, sizes.p)), None
        if norm is None:
            out, scanned, _steps, _decays, _states, _last = _scan(x, dt, b, c, z, sizes)
            out = out.flatten(2)
        else:
            scanned, _, _steps, _decays, _states, _last = _scan(x, dt, b, c, None, sizes)
            out = kernel([scanned, z, norm], (sizes.b, sizes.s, sizes.h * sizes.p), x.dtype)
            rstd = out.new_empty((sizes.g * sizes.b * sizes.s,), dtype=FP32)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            out, weight = out.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        out = functional.linear(out, weight, bias)
        ctx.save_for_backward(zxbcdt, conv, conv_bias, scanned, a, d, dt_bias, norm, rstd, weight, bias)
        ctx.sizes = sizes
        return out

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Convolves again, scans backward, and computes all gradients, those of a frozen projection as well."""
        zxbcdt, conv, conv_bias, scanned, a, d, dt_bias, norm, rstd, weight, bias = ctx.saved_tensors
        sizes: _Sizes = ctx.sizes
        again = scanned.new_empty((sizes.b, sizes.s, sizes.h * sizes.p))
        z, xbc, dt = _split(zxbcdt, sizes)
        _xbc_conv = _convolved(xbc, conv)
        x, b, c = _heads(_xbc_conv, sizes)
        d_zxbcdt = torch.empty_like(zxbcdt)
        _d_xbc = torch.empty_like(xbc)
        z = z.unflatten(-1, (sizes.h, sizes.p))
        of_out, gradient = gradient, functional.linear(gradient, weight.t())
        gradient, d_norm = gradient.unflatten(-1, (sizes.h, sizes.p)), None
        if norm is None:
            gated, small = _scan_backward(gradient, x, dt, b, c, z, scanned, sizes)
            assert gated is not None
            again = gated.flatten(2)
        else:
            gradient = kernel([gradient, scanned, z, rstd], scanned.shape, scanned.dtype)
            d_norm = torch.empty_like(norm)
            _, small = _scan_backward(gradient, x, dt, b, c, None, scanned, sizes)
        d_weight = torch.einsum("bso,bsd->od", of_out, again)
        d_bias = None if bias is None else of_out.sum(dim=(0, 1))
        d_conv = conv.new_zeros(conv.shape, dtype=FP32).type_as(conv)
        d_conv_bias = None if conv_bias is None else conv_bias.new_zeros(conv_bias.shape, dtype=FP32).type_as(conv_bias)
        given = _split(d_zxbcdt, sizes)[1]
        if given.stride(1) % MULTIPLE:
            xbc, _d_xbc_given = xbc.contiguous(), given.contiguous()
            given.copy_(_d_xbc_given)
        d_skip, d_a, d_dt_bias = small
        return (
            d_zxbcdt, d_conv, d_conv_bias, d_dt_bias.to(dt_bias.dtype), d_a.to(a.dtype), d_skip.to(d.dtype), None,
            d_norm, d_weight, d_bias, None, None,
        )  # fmt: skip


def _sizes(zxbcdt: torch.Tensor, conv: torch.Tensor, d: torch.Tensor, chunk: int, p: int, g: int) -> _Sizes:
    h = d.shape[0]
    return _Sizes(zxbcdt.shape[0], zxbcdt.shape[1], h, p, g, (conv.shape[0] - h * p) // g // 2, chunk)


def _split(zxbcdt: torch.Tensor, sizes: _Sizes) -> tuple[torch.Tensor, ...]:
    """Returns gate, what is convolved, and steps."""
    inner = sizes.h * sizes.p
    return torch.split(zxbcdt, [inner, inner + 2 * sizes.g * sizes.n, sizes.h], dim=-1)


def _heads(xbc: torch.Tensor, sizes: _Sizes) -> tuple[torch.Tensor, ...]:
    """Returns the convolved values by head, and B and C by group."""
    of_groups = sizes.g * sizes.n
    x, b, c = torch.split(xbc, [sizes.h * sizes.p, of_groups, of_groups], dim=-1)
    return x.unflatten(-1, (sizes.h, sizes.p)), b.unflatten(-1, (sizes.g, -1)), c.unflatten(-1, (sizes.g, -1))


def _block(zxbcdt: Any, conv: Any, conv_bias: Any, dt_bias: Any, a: Any, **options: Any) -> torch.Tensor | None:
    """Replaces the function in transformers' modeling files.

    It returns None, which makes transformers run its own loop, where the output projection is quantized: the kernels
    multiply by the weight itself.
    """
    d, head_dim, weight = options["D"], options["headdim"], options["outproj_weight"]
    if not weight.is_floating_point() or weight.shape[-1] != d.shape[0] * head_dim:
        return None
    norm, bias = options["rmsnorm_weight"], options["outproj_bias"]
    given = zxbcdt, conv, conv_bias, dt_bias, a, d, options["chunk_size"], norm, weight, bias
    out: torch.Tensor = _Block.apply(*given, head_dim, options["ngroups"])
    return out


BLOCK = Fused("mamba2_split_conv1d_scan_combined", _block, "mamba-ssm[causal-conv1d]")
