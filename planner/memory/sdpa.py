"""Which of its kernels torch's SDPA runs on a GPU."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from strategies import Attention, Batching

HALF = 2
GROUPED_HEAD_DIM = 256
"""Of more, flash takes no heads (cuda/sdp_utils.cpp, `check_head_dim_size_flash`), and transformers repeats grouped
keys and values (integrations/sdpa_attention.py, `use_gqa_in_sdpa`)."""


class SdpaKernel(StrEnum):
    """aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, `select_sdp_backend`."""

    FLASH = "flash"
    """Half precision, compute capability 8.0 and above; grouped keys and values as they are."""
    EFFICIENT = "efficient"
    """The memory-efficient one: any dtype and GPU, but not grouped keys and values: who asks for it repeats them."""
    MATH = "math"
    """What is left, as for grouped keys and values in fp32: scores and probabilities are written out."""


class Selection(NamedTuple):
    """How SDPA finds its kernel."""

    pinned: SdpaKernel | None = None
    """None: torch selects one at each call."""
    has_flash: bool = True
    """Whether the GPU has the flash kernel."""
    batching: Batching = Batching.FULL
    """Padded and packed samples come with masks, which flash does not take."""

    def under(self, attention: Attention) -> Selection:
        """The same where a strategy pins the kernel."""
        return self._replace(pinned=SdpaKernel.EFFICIENT) if attention is Attention.SDPA_EFFICIENT else self

    def kernel(self, itemsize: int, head_dim: int, *, grouped: bool) -> SdpaKernel:
        """What runs without a mask.

        Args:
            itemsize: of q, k and v at the call, after autocast's cast.
            grouped: whether there are fewer keys and values than queries.
        """
        if self.pinned is not None:
            return self.pinned
        if head_dim > GROUPED_HEAD_DIM:
            return SdpaKernel.EFFICIENT
        if itemsize == HALF and self.has_flash:
            return SdpaKernel.FLASH
        return SdpaKernel.MATH if grouped else SdpaKernel.EFFICIENT

    def masked_kernel(self, *, grouped: bool) -> SdpaKernel:
        """What runs with a mask, which flash does not take. `grouped`: fewer keys and values than queries, which nobody
        repeats."""
        return SdpaKernel.MATH if grouped or self.pinned is SdpaKernel.MATH else SdpaKernel.EFFICIENT
