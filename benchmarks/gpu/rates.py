"""Measures a GPU's rates: products by shape, attention by kernel, memory-bound operations, launches and copies.

It also measures the bytes that a process takes before it has tensors. Data is random, since products of zeros draw less
power and run faster. Each operation is repeated for a while, and the median of several stretches is given, not the
best.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu.case import Case
from gpu.forked import NotHereError
from gpu.training import synchronize, taken_bytes
from torch.nn.attention import SDPBackend, sdpa_kernel

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32, "tf32": torch.float32}
STRETCHES = 5
"""Number of measured stretches, each with many runs of an operation."""
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def rates_on(device: str) -> Callable[[Case], dict[str, Any]]:
    """Returns a function that measures the rate that a case names as `what`."""

    def measured(case: Case) -> dict[str, Any]:
        torch.manual_seed(0)
        return _MEASURES[case.request["what"]](dict(case.request), device)

    return measured


def _sustained(operation: Callable[[], Any], device: str, seconds: float) -> float:
    """Returns the seconds of one run of an operation, the median of stretches that last about `seconds` together."""
    operation()
    synchronize(device)
    start = time.perf_counter()
    operation()
    synchronize(device)
    runs = max(1, int(seconds / STRETCHES / max(time.perf_counter() - start, 1e-6)))
    times = []
    for _ in range(STRETCHES):
        start = time.perf_counter()
        for _ in range(runs):
            operation()
        synchronize(device)
        times.append((time.perf_counter() - start) / runs)
    return statistics.median(times)


def _products(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the FLOP/s of x @ w for each shape (rows, in, out), and of the two products of its backward."""
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = request["dtype"] == "tf32"
    found = []
    for rows, width, out in request["shapes"]:
        flops = 2 * rows * width * out
        operations = _products_of(request["dtype"], rows, width, out, device)
        speeds = {name: flops / _sustained(run, device, request["seconds"]) for name, run in operations.items()}
        found.append({"shape": [rows, width, out], **speeds})
    return {"flops_per_second": found}


def _products_of(dtype: str, rows: int, width: int, out: int, device: str) -> dict[str, Callable[[], Any]]:
    x, w, g = (
        torch.randn(shape, device=device).to(DTYPES.get(dtype, torch.bfloat16))
        for shape in ((rows, width), (out, width), (rows, out))
    )
    if dtype == "fp8":
        return _fp8_product(x, w)
    return {"forward": lambda: x @ w.T, "input": lambda: g @ w, "weight": lambda: g.T @ x}


def _fp8_product(x: torch.Tensor, w: torch.Tensor) -> dict[str, Callable[[], Any]]:
    if x.device.type != "cuda" or torch.cuda.get_device_capability() < (8, 9):
        raise NotHereError("fp8 products need compute capability 8.9")
    a, b = x.to(torch.float8_e4m3fn), w.to(torch.float8_e4m3fn)
    one = torch.ones((), device=x.device)
    return {"forward": lambda: torch._scaled_mm(a, b.T, one, one, out_dtype=torch.bfloat16)}


def _attention(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the FLOP/s of causal attention, forward and backward.

    Half of the full square of scores is counted in forward, and 2.5 times that in backward.
    """
    batch, heads, length, width = request["shape"]
    kv_heads = request.get("kv_heads", heads)

    def made(number: int) -> torch.Tensor:
        shape = (batch, number, length, width)
        return torch.randn(shape, device=device, dtype=torch.bfloat16).requires_grad_()

    q, k, v = made(heads), made(kv_heads), made(kv_heads)
    flops = 4 * batch * heads * length * length * width / 2

    def attend() -> torch.Tensor:
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=kv_heads != heads)

    with sdpa_kernel(BACKENDS[request["kernel"]]) if device == "cuda" else sdpa_kernel(list(BACKENDS.values())):
        out = attend()
        gradient = torch.randn_like(out)
        forward = _sustained(attend, device, request["seconds"])
        both = _sustained(lambda: attend().backward(gradient), device, request["seconds"])
    return {"forward_flops_per_second": flops / forward, "backward_flops_per_second": 2.5 * flops / (both - forward)}


def _memory_bound(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the bytes per second of operations that only read and write, by the bytes of their tensor."""
    found = []
    for size in request["sizes"]:
        operations = _passes_of(size, device)
        speeds = {
            name: passes * size / _sustained(run, device, request["seconds"])
            for name, (run, passes) in operations.items()
        }
        found.append({"bytes": size, **speeds})
    return {"bytes_per_second": found}


def _passes_of(size: int, device: str) -> dict[str, tuple[Callable[[], Any], int]]:
    """Returns operations on a bf16 tensor of `size` bytes, each with how many times `size` is read and written."""
    x = torch.randn(size // 2, device=device).to(torch.bfloat16)
    rows, functional = x.view(-1, min(4096, x.numel())), torch.nn.functional
    return {
        "copy": (x.clone, 2),
        "add": (lambda: x + x, 2),
        "silu": (lambda: functional.silu(x), 2),
        "softmax": (lambda: functional.softmax(rows, -1, dtype=torch.float32), 3),
        "to fp32": (x.float, 3),
    }


def _launches(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the host's seconds per launch of a trivial kernel, alone and as an operation of autograd."""
    x = torch.ones(1, device=device)
    y = torch.ones(1, device=device, requires_grad=True)
    number = request["number"]

    def many() -> None:
        for _ in range(number):
            x.add_(1)

    def many_with_graph() -> None:
        total = y
        for _ in range(number):
            total = total + 1
        total.backward()

    return {
        "seconds_per_launch": _sustained(many, device, request["seconds"]) / number,
        "seconds_per_forward_and_backward": _sustained(many_with_graph, device, request["seconds"]) / number,
    }


def _copies(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the bytes per second of copies from and to the host's memory, pinned and pageable."""
    size = request["bytes"]
    found = {}
    for pinned in (True, False) if device == "cuda" else (False,):
        host = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        there = torch.empty(size, dtype=torch.uint8, device=device)
        kind = "pinned" if pinned else "pageable"

        def to_device(host: torch.Tensor = host, there: torch.Tensor = there) -> None:
            there.copy_(host, non_blocking=True)

        def to_host(host: torch.Tensor = host, there: torch.Tensor = there) -> None:
            host.copy_(there, non_blocking=True)

        found[f"{kind} to device"] = size / _sustained(to_device, device, request["seconds"])
        found[f"{kind} to host"] = size / _sustained(to_host, device, request["seconds"])
    return {"bytes_per_second": found}


def _process(_: dict[str, Any], device: str) -> dict[str, Any]:
    """Returns the GPU bytes in use after the context is created, and after each library's handle and workspace is."""
    if device != "cuda":
        raise NotHereError("the bytes of a context are of a GPU")
    torch.cuda.init()
    steps: dict[str, int] = {"context": taken_bytes()}
    a = torch.randn(256, 256, device="cuda", dtype=torch.bfloat16, requires_grad=True)
    steps["first tensor"] = taken_bytes()
    loss = (a @ a).sum()
    steps["first product"] = taken_bytes()
    workspace = torch.cuda.memory_allocated()
    loss.backward()
    torch.cuda.synchronize()
    steps["first backward"] = taken_bytes()
    q = torch.randn(1, 8, 256, 64, device="cuda", dtype=torch.bfloat16)
    torch.nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    torch.linalg.qr(torch.randn(64, 64, device="cuda"))
    torch.cuda.synchronize()
    steps["attention and a solver"] = taken_bytes()
    properties = torch.cuda.get_device_properties(0)
    return {
        "taken_bytes": steps,
        "allocated_after_first_product": workspace,
        "allocated_after_first_backward": torch.cuda.memory_allocated(),
        "total_memory": properties.total_memory,
        "multi_processor_count": properties.multi_processor_count,
    }


_MEASURES: dict[str, Callable[[dict[str, Any], str], dict[str, Any]]] = {
    "process": _process,
    "products": _products,
    "attention": _attention,
    "memory-bound": _memory_bound,
    "launches": _launches,
    "copies": _copies,
}
