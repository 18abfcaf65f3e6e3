"""Between steps: an evaluation, which keeps nothing for backward, and saving, which gathers what is sharded.

Sources: transformers/trainer.py, `prediction_step` (loss only, as without `compute_metrics`); accelerate,
accelerator.py, `get_state_dict`; torch/distributed/_state_dict_utils.py, `_gather_state_dict`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from planner.memory.settings.dtypes import Dtypes
from planner.memory.settings.parts import Part
from planner.memory.sharding.layout import Layout
from planner.memory.sharding.state import stored_itemsize
from planner.memory.step.step import Line, positions
from planner.models import Inventory


def evaluation(parts: Sequence[Part], layout: Layout, batch_size: int) -> Iterator[Line]:
    """The instants of a forward pass of `batch_size` samples that saves nothing, as lines without slope: no gradients
    are there, and the training micro-batch is gone.

    Args:
        parts: stem, blocks, head and loss, traced without what backward needs.
        layout: of a step that begins without gradients.
    """
    shards = layout.sharding.shards
    for i, part, held, *_ in positions(parts, reach=int(shards)):
        instants = [(s.fixed, s.per_sample, layout.forward(i)) for s in part.forward]
        if shards:
            instants.append((0, part.input_bytes, layout.gather(i)))
        for fixed, per_sample, extra in instants:
            tensors = held[0] + fixed + (held[1] + per_sample) * batch_size
            yield Line(tensors + sum(extra), 0, 0, 0, 0, extra.unsharded, extra.communication)


def saving(inventory: Inventory, dtypes: Dtypes) -> Line:
    """The state dict of a sharded model, of which one parameter after the other is gathered and copied to the host. (It
    is not replayed: on the CPU device a copy to the host is none.)"""
    tensors = (t for part in (inventory.stem, *inventory.blocks.values(), inventory.head) for t in part.tensors)
    largest = max(t.num_elements * stored_itemsize(t, dtypes, quantizes=False) for t in tensors)
    return Line(largest, 0, 0, 0, 0, largest, 0)
