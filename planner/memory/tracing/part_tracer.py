"""Makes the layers that run a part of a model on a tape."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from copy import copy
from functools import cached_property
from typing import Self

from planner.libraries.deepspeed import GATHERED_WHOLE
from planner.libraries.liger_kernel import patch_of
from planner.memory.autograd.tape import Tape
from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.settings.exchange import Exchange, Shared
from planner.memory.settings.setting import Setting
from planner.memory.settings.trainable import Trainable, trained_at_ends
from planner.memory.tracing.implementations import TODAY, Implementations
from planner.models import Architecture
from strategies import Lora

STEM, HEAD, LOSS = "stem", "head", "loss"
"""Names of the parts that are not blocks; a block is named by its kind."""


class PartTracer:
    """Makes layers for each part of one architecture under one setting, which hand on what later parts read.

    Args:
        architecture: The model's fields and forward pass.
        setting: What the bytes of a part depend on.
        steps: Returns, for a part (STEM, HEAD, LOSS or the kind of a block) and what trains in it, the bytes that the
            update of each parameter in backward allocates, by the parameter's name.
        implementations: What computes kernels and losses.
    """

    def __init__(
        self,
        architecture: Architecture,
        setting: Setting,
        steps: Callable[[Hashable, Trainable], Mapping[str, int]],
        implementations: Implementations = TODAY,
    ) -> None:
        self.architecture, self.setting, self.steps = architecture, setting, steps
        self.implementations = implementations
        self.is_first_block = False
        """Whether the blocks to trace are the model's first one."""
        self._rope_itemsize = 0
        self._known: dict[str, Shared] = {}

    @cached_property
    def ends(self) -> Trainable:
        """Says what trains in embeddings and head."""
        architecture = self.architecture
        return trained_at_ends(self.setting.method, tied=architecture.tied_to is not None, task=architecture.task)

    @cached_property
    def shared(self) -> str:
        """Name of the weight that trains in embeddings and in other parts; empty if there is none."""
        architecture = self.architecture
        several = architecture.tied_to is not None or architecture.embeds_again is not None
        trains = several and self.ends.embedding and not isinstance(self.setting.method, Lora)
        return f"{architecture.embedding_name}.weight" if trains else ""

    def of_first_block(self) -> Self:
        """Returns a tracer of the model's first block, which reads what stem and later blocks share with this one."""
        first = copy(self)
        first.is_first_block = True
        return first

    def _layers(
        self,
        part: Hashable,
        trained: Trainable,
        *,
        keep_saved: bool = True,
        recomputed: bool = False,
        in_block: bool = False,
    ) -> Layers:
        """Returns new layers with a tape of their own, which run one part."""
        s, architecture = self.setting, self.architecture
        tape = Tape(
            keep_saved=keep_saved and not s.evaluates,
            steps=self.steps(part, trained),
            recomputed=recomputed,
            marked=s.marked,
            logs=s.logs,
        )
        of_target = part in (HEAD, LOSS) or architecture.reads_target(part)
        kinds = self.implementations.within_blocks if in_block else self.implementations.layers
        layers = kinds[s.kernels](
            tape,
            dtypes=s.dtypes.of_trained() if trained.weights else s.dtypes,
            method=s.method,
            trained=trained,
            attention=s.attention,
            sequence_length=s.target_length if of_target else s.sequence_length,
            selection=s.selection,
        )
        layers.evaluates, layers.target_length = s.evaluates, s.target_length
        # accelerate/utils/ao.py, `filter_first_and_last_linear_layers`; the last one is the head's
        layers.unconverted = architecture.first_linear if self.is_first_block else None
        # Other classes, as GPT-2's Conv1D, call no `functional.linear`, which DeepSpeed replaces.
        layers.by_zero3 = s.by_zero3 and architecture.linear_class == "Linear"
        layers.gathered_whole = GATHERED_WHOLE.get(architecture.model_type, "") if s.by_zero3 else ""
        if isinstance(layers, LigerLayers):
            layers.norm_in_place = patch_of(architecture.model_type).norm_in_place
        layers.mask_itemsize = s.dtypes.other  # the embeddings' dtype
        layers.tape.shared = self.shared
        layers.rope_itemsize, layers.exchange = self._rope_itemsize, Exchange(self._known)
        return layers
