"""Finds the lists of blocks in a model."""

from __future__ import annotations

import torch


def stacks(model: torch.nn.Module) -> list[tuple[str, torch.nn.ModuleList]]:
    """Returns the path and the blocks of each `ModuleList` of at least two blocks.

    Lists inside a block of another list are left out.
    """
    found: list[tuple[str, torch.nn.ModuleList]] = []
    for path, module in model.named_modules():
        within = any(path.startswith(f"{outer}.") for outer, _ in found)
        if isinstance(module, torch.nn.ModuleList) and len(module) > 1 and not within:
            found.append((path, module))
    return found
