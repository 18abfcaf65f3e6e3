"""Keeps the leaves from which reentrant checkpoints compute frozen units of FSDP1 again.

A hook on the inputs of a frozen unit's forward reshards it after backward (torch/distributed/fsdp/_runtime_utils.py,
`_register_post_backward_reshard_only_hook`). Within a reentrant checkpoint these inputs are leaves of the
recomputation, and until backward is over the hook holds them, with their gradients (torch/autograd/graph.py,
`register_multi_grad_hook`).
"""

from __future__ import annotations

from collections.abc import Sequence

from planner.memory.settings.parts import Part


def keeping_leaves(parts: Sequence[Part], frozen: Sequence[bool]) -> list[Part]:
    """Returns the parts of a model with what frozen units keep of their inputs until backward is over.

    A block's backward leaves its input and the gradient of its output, which is that of the next block's leaf. The
    gradient of its own leaf belongs to the part before it.

    Args:
        parts: Stem, blocks, head and loss, in order.
        frozen: Whether each block is a unit without trained parameters.
    """
    stem, *blocks, head, loss = parts
    around = list(zip(blocks, frozen, (*frozen[1:], False), strict=True))
    found = {(id(part), own, following): _keeping(part, own, following) for part, own, following in around}
    return [stem, *(found[id(part), own, following] for part, own, following in around), head, loss]


def _keeping(part: Part, own: bool, following: bool) -> Part:
    """Returns a block with what stays: of its own leaf, if it is frozen, and of the following block's."""
    kept = part.kept[0], part.kept[1] + (own + following) * part.input_bytes
    return part._replace(kept=kept, log=part.log and part.log._replace(leaf_stays=own))
