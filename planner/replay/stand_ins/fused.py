"""Makes modeling files of transformers call stand-ins for the kernels of other packages.

They call the kernels once the packages are installed (transformers, integrations/hub_kernels.py
`use_kernel_func_from_hub_with_fallback`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch.utils.flop_counter import register_flop_formula


@torch.library.custom_op("planner::kernel", mutates_args=())
def _kernel(reads: Sequence[torch.Tensor], shape: Sequence[int], dtype: torch.dtype, flops: int) -> torch.Tensor:
    return reads[0].new_empty(shape, dtype=dtype)


_kernel.register_fake(lambda reads, shape, dtype, flops: reads[0].new_empty(shape, dtype=dtype))


@register_flop_formula(torch.ops.planner.kernel)
def _flops(reads: Any, shape: Any, dtype: Any, flops: int, *args: Any, **kwargs: Any) -> int:
    return flops


def kernel(reads: Sequence[torch.Tensor], shape: Sequence[int], dtype: torch.dtype, flops: int = 0) -> torch.Tensor:
    """Returns what a kernel makes of the tensors that it reads, and counts their bytes and its FLOPs."""
    made: torch.Tensor = torch.ops.planner.kernel(reads, shape, dtype, flops)
    return made


class Fused(NamedTuple):
    """A function in modeling files, and its stand-in."""

    name: str
    """Name of the function in transformers' modeling files for which the kernels are called."""
    function: Callable[..., Any]
    """Its stand-in."""
    package: str
    """What `pip install` calls the kernels."""

    def modules_of(self, model: torch.nn.Module) -> list[Any]:
        """Returns the modeling files of a model's modules that call the kernels."""
        names = dict.fromkeys(type(module).__module__ for module in model.modules())
        return [found for name in names if hasattr(found := sys.modules.get(name), self.name)]

    @contextmanager
    def called_by(self, model: torch.nn.Module) -> Iterator[None]:
        """Makes a model's modules call the stand-in while the context lasts."""
        originals = [(module, getattr(module, self.name)) for module in self.modules_of(model)]
        try:
            for module, _ in originals:
                setattr(module, self.name, self.function)
            yield
        finally:
            for module, original in originals:
                setattr(module, self.name, original)
