"""Defines the work of a pass: what its time is computed from."""

from typing import NamedTuple


class Work(NamedTuple):
    """Counts the work of one pass through a part: FLOPs of products, bytes moved by other operations, host transfers.

    Bytes and kernels are those of one pass; `per_sample` ones are multiplied by the micro-batch.
    """

    half_flops_per_sample: int = 0
    fp32_flops_per_sample: int = 0
    bytes_per_sample: int = 0
    fixed_bytes: int = 0
    host_bytes_per_sample: int = 0
    """Bytes copied to the host's memory or from it."""
    fp8_flops_per_sample: int = 0
    written_per_sample: int = 0
    """Bytes that products write."""
    written_fixed: int = 0
    attention_forward: int = 0
    """FLOPs per sample of fused attention in half precision."""
    attention_backward: int = 0
    kernels: int = 0
    """Kernels that the host launches."""
    attention_fp32: int = 0
    """FLOPs per sample of fused attention in fp32, forward and backward."""

    @classmethod
    def of(cls, done: tuple[int, ...]) -> "Work":
        """Returns the work that a tape says it has `done`."""
        half, fp32, fp8, moved, fixed, *others = done
        return cls(half, fp32, moved, fixed, 0, fp8, *others)

    def plus(self, other: "Work") -> "Work":
        """Returns the sum of both."""
        return Work(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, n: int) -> "Work":
        """Returns the work of `n` such passes."""
        return Work(*(n * a for a in self))
