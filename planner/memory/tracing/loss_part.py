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
    layers: Layers,
    loss_of: Callable[[Ops, Tensor, Objective], Tensor],
    objective: Objective,
    head_output: Tensor,
    *,
    kept: bool = False,
) -> Part:
    """Traces a loss that is computed from logits.

    Args:
        layers: What runs the loss, with a tape of its own.
        loss_of: Traces the loss of logits.
        objective: What the logits are compared with.
        head_output: The logits on the head's tape, for their shape.
        kept: Whether the training loop keeps the logits through backward, which does not free them then.
    """
    elements, itemsize = head_output.per_sample, head_output.itemsize
    run = PartRun(layers)
    logits = layers.tensor(elements, head_output.width, itemsize, "logits")
    logits.variable = entry = Variable()
    run.given(logits)
    loss = loss_of(layers, logits, objective)
    assert logits.storage is not None
    needed, number = logits.storage.saved, logits.storage.number
    del logits
    part = run.finish(loss)._replace(input_bytes=elements * itemsize, saves_input=needed)
    copies = layers.autocast is not None and itemsize < FP32
    if copies or not needed:
        part = part._replace(outputs=(0, elements * (FP32 if copies else itemsize)))
    elif kept and (entry.gradient is None or entry.gradient.number != number):
        part = part._replace(kept=(part.kept[0], part.kept[1] + elements * itemsize))
    if copies:
        fixed, per_sample = part.saved
        beside = per_sample if needed else per_sample + elements * itemsize
        at = Snapshot(fixed, beside + elements * FP32, fixed, per_sample, 0)
        part = part._replace(returned=at)
    return part
