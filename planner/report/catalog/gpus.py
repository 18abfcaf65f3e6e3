"""Renders GPUs of the catalog: all of them in a table, or one with all its fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, get_args

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from hardware import GPU, MIB, Dtype, Link, Machine
from planner.report.catalog.machines import price_of
from planner.report.parts.blocks import Wrapped, fields
from planner.report.parts.format import gib, grouped, plural
from planner.report.parts.table import Column, shrunk, table_lines

_EXPENDABLE = ("fp8", "cc", "per node", "fp32", "link GB/s")
"""Columns that are left out where the terminal is narrow, one after the other."""
_ABSENT = "-"
"""Text of a rate that a GPU does not have."""


class GPUList(NamedTuple):
    """Draws a table of GPUs."""

    gpus: Sequence[GPU]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        gpus = self.gpus
        rates: tuple[Dtype, ...] = ("fp32", "fp16", "bf16", "fp8")
        columns = [
            Column("GPU", [gpu.name for gpu in gpus], style="bold"),
            Column("GiB", [gib(gpu.memory_bytes) for gpu in gpus], right=True),
            Column("GB/s", [_giga(gpu.memory_bandwidth_bytes_per_second) for gpu in gpus], right=True),
            *(Column(dtype, [_tera(gpu, dtype) for gpu in gpus], right=True) for dtype in rates),
            Column("link GB/s", [_link(gpu.gpu_link) for gpu in gpus], right=True),
            Column("per node", [str(gpu.gpus_per_node) for gpu in gpus], right=True),
            Column("cc", [gpu.compute_capability for gpu in gpus]),
        ]
        heading, rows = table_lines(shrunk(columns, _EXPENDABLE, options.max_width))
        yield heading
        yield from rows
        yield Wrapped(f"{plural(len(gpus), 'GPU')}; usable GiB, memory bandwidth, dense TFLOPS", "dim")


class GPUCard(NamedTuple):
    """Draws everything that is known about one GPU, and names the machines that have it."""

    gpu: GPU
    machines: Sequence[Machine] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(self.gpu.name, style="bold")
        yield from fields(list(self._rows()))

    def _rows(self) -> Iterator[tuple[str, str]]:
        gpu = self.gpu
        dtypes: tuple[Dtype, ...] = get_args(Dtype)
        yield "also called", ", ".join(gpu.aliases)
        yield "architecture", f"{gpu.vendor} {gpu.architecture}, {gpu.compute_capability}"
        yield "usable memory", f"{gib(gpu.memory_bytes, 2)} GiB ({grouped(gpu.memory_bytes)} bytes)"
        yield "CUDA context" if gpu.vendor == "nvidia" else "context", f"{grouped(gpu.context_bytes / MIB)} MiB of it"
        yield "memory bandwidth", f"{_giga(gpu.memory_bandwidth_bytes_per_second)} GB/s"
        yield "dense TFLOPS", ", ".join(f"{d} {_tera(gpu, d)}" for d in dtypes if gpu.peak_flops.of(d) is not None)
        yield "to other GPUs", _link_in_words(gpu.gpu_link)
        yield "to the host", _link_in_words(gpu.host_link)
        if gpu.network_link:
            yield "to other nodes", _link_in_words(gpu.network_link)
        yield "GPUs per node", str(gpu.gpus_per_node)
        yield "host memory", f"{gib(gpu.host_memory_bytes)} GiB for each GPU"
        supported = {
            "bf16": gpu.supports_bf16,
            "fp16": gpu.supports_fp16,
            "tf32": gpu.supports_tf32,
            "fp8": gpu.supports_fp8,
            "flash attention": gpu.supports_flash_attention,
            "bitsandbytes": gpu.supports_bitsandbytes,
        }
        yield "supports", ", ".join(name for name, has in supported.items() if has)
        if missing := ", ".join(name for name, has in supported.items() if not has):
            yield "lacks", missing
        yield "price", price_of(gpu)
        if self.machines:
            yield "machines", ", ".join(machine.name for machine in self.machines)
        yield "source", gpu.source


def _giga(per_second: float) -> str:
    return f"{per_second / 1e9:,.0f}"


def _tera(gpu: GPU, dtype: Dtype) -> str:
    flops = gpu.peak_flops.of(dtype)
    if flops is None:
        return _ABSENT
    return f"{flops / 1e12:,.1f}" if flops < 1e14 else f"{flops / 1e12:,.0f}"


def _link(link: Link) -> str:
    return f"{link.kind} {_giga(link.bytes_per_second).rjust(5)}"


def _link_in_words(link: Link) -> str:
    return f"{link.kind}, {link.bytes_per_second / 1e9:,.4g} GB/s in each direction"
