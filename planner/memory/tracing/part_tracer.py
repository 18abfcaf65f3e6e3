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
        self.leaves_out = False
        """Whether the block to trace is the one of which fp8 leaves a linear layer out."""
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

    @property
    def embedded_itemsize(self) -> int:
        """Bytes per element of what the token embedding returns, whose dtype masks have (`create_causal_mask`)."""
        return self.setting.dtypes.trained if self.ends.embedding else self.setting.dtypes.other

    def leaving_out(self) -> Self:
        """Returns a tracer of the block of which fp8 leaves a linear layer out; it shares what this one knows."""
        tracer = copy(self)
        tracer.leaves_out = True
        return tracer

    def _left_out(self, part: Hashable) -> str | None:
        """Returns which of the part's linear layers fp8 leaves out: empty is the first that runs, None is none of them.

        They are the first and the last that the model defines, of which one is the head's, and in half precision
        anyway where it is the last (accelerate/utils/ao.py, `filter_first_and_last_linear_layers`).
        """
        architecture = self.architecture
        if architecture.defines_head_first:
            return "" if part == HEAD else architecture.last_linear if self.leaves_out else None
        return architecture.first_linear if self.leaves_out else None

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
        layers.unconverted = self._left_out(part)
        # Other classes, as GPT-2's Conv1D, call no `functional.linear`, which DeepSpeed replaces.
        layers.by_zero3 = s.by_zero3 and architecture.linear_class == "Linear"
        layers.gathered_whole = GATHERED_WHOLE.get(architecture.model_type, "") if s.by_zero3 else ""
        if isinstance(layers, LigerLayers):
            layers.norm_in_place = patch_of(architecture.model_type).norm_in_place
        layers.mask_itemsize = self.embedded_itemsize
        layers.tape.shared = self.shared
        layers.rope_itemsize, layers.exchange = self._rope_itemsize, Exchange(self._known)
        return layers
