"""Computes the bytes of what happens between steps: evaluating, and saving a sharded model.

An evaluation keeps nothing for backward, and saving gathers what is sharded.

Sources: transformers/trainer.py, `prediction_step` (loss only, as without `compute_metrics`); accelerate,
accelerator.py, `get_state_dict`; torch/distributed/_state_dict_utils.py, `_gather_state_dict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.memory.autograd.storage import Snapshot
from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.parts import Part
from planner.memory.settings.setting import Setting
from planner.memory.sharding.layout import Extra, Layout
from planner.memory.sharding.state import stored_itemsize
from planner.memory.step.outputs import raised
from planner.memory.step.step import Line, Lines, Moment, largest_lines, positions
from planner.memory.step.traced_model import TracedModel
from planner.models import Inventory
from strategies import Checkpointing, Checkpoints, DataParallel, Lora, Loss


def between_steps(
    traced: TracedModel,
    setting: Setting,
    checkpointing: Checkpoints,
    sharding: DataParallel,
    layout: Layout,
    batch_size: int | None,
    ids_bytes: int,
    left: int,
) -> Lines:
    """Returns the lines of evaluating and saving, without what the training loop keeps of its last batch.

    Args:
        traced: The model.
        setting: What the bytes of a part depend on in training.
        checkpointing: Which blocks are recomputed in training.
        sharding: How the model is replicated or sharded.
        layout: The layout of a step that begins without gradients.
        batch_size: Samples that are evaluated at once; None for no evaluation.
        ids_bytes: Bytes per sample of a batch.
        left: Bytes of `Layout.left`, counted for saving only, because an evaluation gathers those parameters first.
    """
    found: Lines = {}
    if batch_size is not None:
        lines = evaluation(traced, setting, checkpointing, layout, batch_size)
        found[Moment.EVALUATION] = tuple(raised(lines, (ids_bytes * batch_size, 0)))
    if sharding.shards and not sharding.on_host:
        found[Moment.SAVING] = tuple(raised([saving(traced.inventory, setting.dtypes)], (left, 0)))
    return found


def evaluation(
    traced: TracedModel, setting: Setting, checkpointing: Checkpoints, layout: Layout, batch_size: int
) -> tuple[Line, ...]:
    """Returns the largest instants of an evaluation's forward pass, which saves nothing.

    No gradients exist, and the activations of training are gone. The lines do not depend on the training micro-batch:
    their slope is 0. They leave out what persists, and the ids of the batch.

    Args:
        traced: The model.
        setting: The setting of training.
        checkpointing: Which blocks are recomputed in training.
        layout: The layout of a step that begins without gradients.
        batch_size: Samples that are evaluated at once.
    """
    evaluated = _evaluated(traced, setting)
    chunk_tokens = traced.chunk_tokens(evaluated, batch_size)
    parts = traced.parts(evaluated, Checkpoints(Checkpointing.NONE), chunk_tokens)
    if not layout.is_followed:
        return largest_lines(instants_of(parts, layout, batch_size))
    from planner.memory.step.followed import followed_evaluation  # of DeepSpeed alone

    trained = traced.parts(setting, checkpointing, traced.chunk_tokens(setting, 1))
    return largest_lines(
        _line(held, snapshot, batch_size, extra)
        for held, snapshot, extra in followed_evaluation(trained, parts, layout)
    )


def _evaluated(traced: TracedModel, s: Setting) -> Setting:
    """Returns the setting of an evaluation between steps of training under a setting."""
    method = s.method._replace(dropout=0.0) if isinstance(s.method, Lora) else s.method
    loss = Loss.FULL if s.loss is Loss.LIGER_FUSED_LINEAR else s.loss  # `skip_logits = self.training and ...`
    beside = s.marked, s.by_zero3
    return traced.setting(s.dtypes, method, s.attention, loss, s.kernels, s.selection, None, True, *beside)


def instants_of(parts: Sequence[Part], layout: Layout, batch_size: int) -> Iterator[Line]:
    """Yields the bytes at the instants of a forward pass through parts that were traced without backward's needs."""
    shards = layout.gathers
    for i, part, held, saved, *_ in positions(parts, reach=int(shards)):
        instants = [(s.fixed, s.per_sample, layout.forward(i)) for s in part.forward]
        if shards:
            instants.append((0, part.input_bytes, layout.gather(i)))
        for fixed, per_sample, extra in instants:
            yield _line(held, Snapshot(fixed, per_sample, 0, 0, 0), batch_size, extra)
        if part.returned is not None:
            yield _line(saved, part.returned, batch_size, layout.forward(i))


def _line(held: tuple[int, int], s: Snapshot, batch_size: int, extra: Extra) -> Line:
    """Returns the bytes of an instant of a part, with what other parts hold and what the library has around it."""
    tensors = held[0] + s.fixed + (held[1] + s.per_sample) * batch_size
    return Line(tensors + sum(extra), 0, 0, 0, 0, extra.unsharded, extra.communication)


def saving(inventory: Inventory, dtypes: Dtypes) -> Line:
    """Returns the bytes of saving a sharded model, whose parameters are gathered and copied to the host one by one.

    The line holds the largest unsharded parameter as stored. It is not held against a replay, because on the CPU device
    nothing is copied to the host.

    Args:
        inventory: The model's parameters.
        dtypes: Bytes per element of each kind of parameter.
    """
    tensors = (t for part in inventory.parts for t in part.tensors)
    largest = max(t.num_elements * stored_itemsize(t, dtypes, quantizes=False) for t in tensors)
    return Line(largest, 0, 0, 0, 0, largest, 0)
