"""Makes the layers that run a part of a model on a tape."""

from __future__ import annotations

from collections.abc import Mapping

from planner.libraries.deepspeed import GATHERED_WHOLE
from planner.libraries.liger_kernel import patch_of
from planner.memory.autograd.tape import Tape
from planner.memory.layers.compiled import CompiledLayers
from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.settings.setting import Setting
from planner.memory.settings.trainable import Trainable
from planner.models import Architecture
from strategies import Kernels

LAYERS: dict[Kernels, type[Layers]] = {Kernels.EAGER: Layers, Kernels.LIGER: LigerLayers, Kernels.COMPILE: Layers}
WITHIN_BLOCKS = LAYERS | {Kernels.COMPILE: CompiledLayers}
"""Layers within blocks, by kernels; only blocks are compiled."""


def layers_on(
    tape: Tape, architecture: Architecture, setting: Setting, trained: Trainable, kinds: Mapping[Kernels, type[Layers]]
) -> Layers:
    """Returns new layers that run a part of a model.

    Args:
        tape: Records what they do.
        architecture: The model's fields.
        setting: What the bytes of a part depend on.
        trained: Which parameters of the part train.
        kinds: The class of the layers, by kernels.
    """
    s = setting
    layers = kinds[s.kernels](
        tape,
        dtypes=s.dtypes.of_trained() if trained.weights else s.dtypes,
        method=s.method,
        trained=trained,
        attention=s.attention,
        sequence_length=s.sequence_length,
        selection=s.selection,
    )
    # Other classes, as GPT-2's Conv1D, call no `functional.linear`, which DeepSpeed replaces.
    layers.by_zero3 = s.by_zero3 and architecture.linear_class == "Linear"
    layers.gathered_whole = GATHERED_WHOLE.get(architecture.model_type, "") if s.by_zero3 else ""
    if isinstance(layers, LigerLayers):
        layers.norm_in_place = patch_of(architecture.model_type).norm_in_place
    layers.mask_itemsize = s.dtypes.other  # the embeddings' dtype
    return layers
