"""Says which kernel torch's scaled_dot_product_attention (SDPA) runs on a GPU."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from strategies import Attention, Batching

HALF = 2
GROUPED_HEAD_DIM = 256
"""The largest head dimension that the flash kernel takes (cuda/sdp_utils.cpp, `check_head_dim_size_flash`).

For larger heads transformers repeats grouped keys and values (integrations/sdpa_attention.py, `use_gqa_in_sdpa`).
"""


class SdpaKernel(StrEnum):
    """Names SDPA's kernels (aten/src/ATen/native/transformers/cuda/sdp_utils.cpp, `select_sdp_backend`)."""

    FLASH = "flash"
    """FlashAttention: half precision, compute capability 8.0 and above; takes grouped keys and values as they are."""
    EFFICIENT = "efficient"
    """The memory-efficient kernel: any dtype and GPU; its caller has to repeat grouped keys and values."""
    CUDNN = "cudnn"
    """cuDNN's kernel. Only its sizes are known; it is assumed to save and lay out what the flash kernel does."""
    MATH = "math"
    """The fallback, e.g. for grouped keys and values in fp32: it allocates scores and probabilities."""


class Selection(NamedTuple):
    """Describes what SDPA selects its kernel by."""

    pinned: SdpaKernel | None = None
    """The kernel that a strategy or training script pins; None if torch selects one at each call."""
    has_flash: bool = True
    """Whether the GPU has the flash kernel."""
    batching: Batching = Batching.FULL
    """How samples fill a sequence; padded and packed ones come with masks, which the flash kernel does not take."""
    prefers_cudnn: bool = False
    """Whether torch tries cuDNN's kernel first (`check_prefer_cudnn_attention`)."""

    def under(self, attention: Attention) -> Selection:
        """Returns the selection under an attention implementation, which may pin the kernel."""
        return self._replace(pinned=SdpaKernel.EFFICIENT) if attention is Attention.SDPA_EFFICIENT else self

    def kernel(self, itemsize: int, head_dim: int, *, grouped: bool, value_dim: int = 0) -> SdpaKernel:
        """Returns the kernel that runs without a mask.

        Args:
            itemsize: Bytes per element of q, k and v at the call, after autocast's cast.
            head_dim: Elements of a head of queries and keys.
            grouped: Whether there are fewer heads of keys and values than of queries.
            value_dim: Elements of a head of values if it differs from `head_dim`; 0 otherwise.
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
        """Returns the kernel that runs with a mask, which the flash kernel does not take.

        Args:
            grouped: Whether there are fewer heads of keys and values than of queries, and they are not repeated.
        """
        return SdpaKernel.MATH if grouped or self.pinned is SdpaKernel.MATH else SdpaKernel.EFFICIENT


def _cudnn_takes(head_dim: int, value_dim: int) -> bool:
    """Returns whether cuDNN takes such heads (`check_cudnn_tensor_shapes`, `check_cudnn_d256_bprop_head_dim`)."""
    fits = max(head_dim, value_dim) <= 128 or (head_dim, value_dim) == (192, 128)
    return fits and head_dim % 8 == value_dim % 8 == 0
