"""Traces runs in which reentrant checkpoints are around the calls of FSDP1's units, as in transformers 4.

transformers 4 checkpoints `decoder_layer.__call__` (modeling_llama.py), transformers 5 what FSDP1's hooks are around
(modeling_layers.py, `GradientCheckpointingLayer`). In the former the hooks of a unit run without gradients in forward,
and with them when backward computes the block again. Two things follow:

- No unit says in forward that backward will need it (torch/distributed/fsdp/_runtime_utils.py,
  `_register_pre_backward_hooks`, returns at once), so none is prefetched (`_get_handle_to_prefetch`).
- A unit whose parameters are frozen is resharded by a hook on the inputs of its forward
  (`_register_post_backward_reshard_only_hook`), which are leaves of the recomputation. Until the end of backward that
  hook holds the leaf with its gradient (torch/autograd/graph.py, `register_multi_grad_hook`): each block's input and
  the gradient of it. Two processes with gloo show both, 12 blocks: ten inputs more alive at the peak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest import mock

from planner.memory.settings.parts import Part
from planner.memory.sharding.fsdp1 import Fsdp1Layout
from planner.memory.step.traced_model import TracedModel


@contextmanager
def checkpointed_calls(*, frozen: bool) -> Iterator[None]:
    """Lets models be traced as such runs; `frozen` says whether blocks are units without trained parameters."""
    parts = TracedModel.parts

    def held(model: TracedModel, *args: object) -> list[Part]:
        return _held(parts(model, *args))

    with mock.patch.object(Fsdp1Layout, "_ahead", return_value=0):
        if not frozen:
            yield
            return
        with mock.patch.object(TracedModel, "parts", held):
            yield


def _held(parts: Sequence[Part]) -> list[Part]:
    """Returns the parts with what each block leaves behind: its input, and its output's gradient if a block made it.

    That gradient is the next block's leaf's. While the block itself runs backward, it is in the block's own account.
    """
    stem, *blocks, last, head, loss = parts
    kept = {id(part): _keeping(part, 2) for part in blocks}
    return [stem, *(kept[id(part)] for part in blocks), _keeping(last, 1), head, loss]


def _keeping(part: Part, tensors: int) -> Part:
    return part._replace(kept=(part.kept[0], part.kept[1] + tensors * part.input_bytes))
