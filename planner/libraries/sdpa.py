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
    CUDNN = "cudnn"
    """cuDNN's, of which nothing but sizes is known: taken for the one that saves and lays out what flash does."""
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
    prefers_cudnn: bool = False
    """Whether torch tries cuDNN's kernel first (`check_prefer_cudnn_attention`)."""

    def under(self, attention: Attention) -> Selection:
        """The same where a strategy pins the kernel."""
        return self._replace(pinned=SdpaKernel.EFFICIENT) if attention is Attention.SDPA_EFFICIENT else self

    def kernel(self, itemsize: int, head_dim: int, *, grouped: bool, value_dim: int = 0) -> SdpaKernel:
        """What runs without a mask.

        Args:
            itemsize: of q, k and v at the call, after autocast's cast.
            grouped: whether there are fewer keys and values than queries.
            value_dim: of a head of values, where it is not that of queries and keys.
        """
        if self.pinned is not None:
            return self.pinned
        if value_dim not in (0, head_dim):
            by_cudnn = self.prefers_cudnn and itemsize == HALF and _cudnn_takes(head_dim, value_dim)
            return SdpaKernel.CUDNN if by_cudnn else SdpaKernel.EFFICIENT
        if head_dim > GROUPED_HEAD_DIM:
            return SdpaKernel.EFFICIENT
        if itemsize == HALF and self.has_flash:
            return SdpaKernel.FLASH
        return SdpaKernel.MATH if grouped else SdpaKernel.EFFICIENT

    def masked_kernel(self, *, grouped: bool) -> SdpaKernel:
        """What runs with a mask, which flash does not take. `grouped`: fewer keys and values than queries, which nobody
        repeats."""
        return SdpaKernel.MATH if grouped or self.pinned is SdpaKernel.MATH else SdpaKernel.EFFICIENT


def _cudnn_takes(head_dim: int, value_dim: int) -> bool:
    """Heads of unequal widths (`check_cudnn_tensor_shapes`, `check_cudnn_d256_bprop_head_dim`)."""
    fits = max(head_dim, value_dim) <= 128 or (head_dim, value_dim) == (192, 128)
    return fits and head_dim % 8 == value_dim % 8 == 0
