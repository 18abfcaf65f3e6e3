"""Marks in a trace when autograd keeps a tensor as a parameter's gradient."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from planner.replay.recording.recorder import LiveBytes

ACCUMULATION = "AccumulateGrad"
"""End of the name of the autograd node that adds to a parameter's gradient."""


def mark_gradients(parameters: Iterable[torch.Tensor], live: LiveBytes) -> None:
    """Marks from now on when autograd keeps a tensor as a parameter's gradient: by events without bytes.

    A copy that it makes gets no mark, and neither does what is added to a gradient.

    Args:
        parameters: The trained parameters.
        live: The recorder of the step.
    """
    seen: set[int] = set()

    def kept(parameter: torch.Tensor) -> None:
        gradient = parameter.grad
        if gradient is not None and id(parameter) not in seen and not live.name(gradient).endswith(ACCUMULATION):
            live.mark(gradient)
        seen.add(id(parameter))

    for parameter in parameters:
        parameter.register_post_accumulate_grad_hook(kept)
