"""Traces the loss of a model that returns logits, and what its forward returns with it."""

from __future__ import annotations

from collections.abc import Callable

from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Snapshot, Tensor, Variable
from planner.memory.layers.layers import Layers
from planner.memory.settings.dtypes import FP32
from planner.memory.settings.parts import Part
from planner.memory.tracing.part_run import PartRun
from planner.models.architecture import Objective


def loss_part(
    layers: Layers, loss_of: Callable[[Ops, Tensor, Objective], Tensor], objective: Objective, head_output: Tensor
) -> Part:
    """Traces a loss that is computed from logits.

    Args:
        layers: What runs the loss, with a tape of its own.
        loss_of: Traces the loss of logits.
        objective: What the logits are compared with.
        head_output: The logits on the head's tape, for their shape.
    """
    elements, itemsize = head_output.per_sample, head_output.itemsize
    run = PartRun(layers)
    logits = layers.tensor(elements, head_output.width, itemsize, "logits")
    logits.variable = Variable()
    run.given(logits)
    loss = loss_of(layers, logits, objective)
    needed = logits.storage is not None and logits.storage.saved
    del logits
    part = run.finish(loss)._replace(input_bytes=elements * itemsize)
    copies = layers.autocast is not None and itemsize < FP32
    if copies or not needed:
        part = part._replace(outputs=(0, elements * (FP32 if copies else itemsize)))
    if copies:
        fixed, per_sample = part.saved
        at = Snapshot(fixed, per_sample + elements * (itemsize + FP32), fixed, per_sample, 0)
        part = part._replace(returned=at)
    return part
