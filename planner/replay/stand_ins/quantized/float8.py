"""Converts a model to torchao's float8 training as accelerate does: the real layers, on fake tensors."""

from __future__ import annotations

from typing import Any

import torch

from planner.extras import needed_for


def convert(model: Any) -> None:
    """Replaces the model's linear layers with float8 layers, in place.

    It follows accelerate/utils/ao.py, `convert_model_to_fp8_ao`, with the defaults of `AORecipeKwargs`: the first and
    the last linear layer stay, and so do those whose input or output width is not a multiple of 16.

    Raises:
        MissingExtraError: torchao is not installed.
    """
    with needed_for("a replay of fp8-mixed", "verify"):
        from torchao.float8 import Float8LinearConfig
        from torchao.float8.float8_linear import Float8Linear, matmul_with_hp_or_float8_args

    class OnFakeGPU(Float8Linear):  # type: ignore[misc]  # untyped
        """A `Float8Linear` whose forward reads the CPU's autocast, which stands for the GPU's in a replay."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.is_autocast_enabled("cpu"):
                x = x.to(torch.get_autocast_dtype("cpu"))
            out: torch.Tensor = matmul_with_hp_or_float8_args.apply(
                x, self.weight.t(), self.linear_mm_config, self.config
            )
            if self.bias is not None:
                out = out + self.bias.to(out.dtype)
            return out

    config = Float8LinearConfig(pad_inner_dim=True)
    paths = [path for path, m in model.named_modules() if isinstance(m, torch.nn.Linear)]
    for path in paths[1:-1]:
        parent, _, name = path.rpartition(".")
        layer = model.get_submodule(path)
        if layer.in_features % 16 == 0 and layer.out_features % 16 == 0:
            setattr(model.get_submodule(parent), name, OnFakeGPU.from_float(layer, config=config))
