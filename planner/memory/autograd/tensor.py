"""Represents tensors that have a size but no values, variables that gather gradients, and the work that is done."""

from __future__ import annotations

from planner.memory.autograd.storage import Storage

MATMUL_FP32, MATMUL_HALF, MATMUL_FP8 = 4, 2, 1
"""Bytes per element of a matmul's operands. FLOPs are counted separately for each, since each has its own peak rate."""


class Variable:
    """Represents a tensor in the autograd graph and gathers its gradient; it holds no bytes of the tensor itself."""

    __slots__ = ("gradient", "name", "parameter", "step_bytes")

    def __init__(self, parameter: bool = False, step_bytes: int | None = None, name: str = "") -> None:
        self.gradient: Storage | None = None
        self.parameter = parameter
        """Whether this is a parameter."""
        self.step_bytes = step_bytes
        """Bytes that its optimizer step allocates, if that runs in backward; otherwise None."""
        self.name = name
        """Name of the parameter."""


class Tensor:
    """Describes `fixed + per_sample x micro_batch_size` elements of `itemsize` bytes in rows of `width` elements.

    `storage` is None for parameters, whose bytes are counted elsewhere; `variable` is None if no gradient is needed.
    """

    __slots__ = (
        "beside",
        "fixed",
        "heads_first",
        "itemsize",
        "module",
        "name",
        "per_sample",
        "storage",
        "variable",
        "width",
    )

    def __init__(
        self, storage: Storage | None, fixed: int, per_sample: int, width: int, itemsize: int, variable: Variable | None
    ) -> None:
        self.storage, self.fixed, self.per_sample = storage, fixed, per_sample
        self.width, self.itemsize, self.variable = width, itemsize, variable
        self.heads_first = False
        """Whether its memory is laid out head by head, as a concatenation of heads is, instead of token by token."""
        self.beside: tuple[Storage | None, ...] = ()
        """Further results that were returned together with this one; they live as long as the caller's variables."""
        self.module = self.name = ""
        """Name of the module that has it, and its own, if it is a parameter."""

    def constant(self, itemsize: int) -> Tensor:
        """Returns a tensor of this shape that has no storage and needs no gradient, as an operand."""
        return Tensor(None, self.fixed, self.per_sample, self.width, itemsize, None)


class Cost:
    """Counts work: FLOPs of matmuls by operand size, and bytes moved by everything else (`fixed_bytes` once a pass).

    Apart are FLOPs of fused attention, whose kernels have rates of their own, and bytes that products wait for.
    """

    __slots__ = (
        "attention_backward",
        "attention_forward",
        "attention_fp32",
        "bytes_per_sample",
        "fixed_bytes",
        "flops_per_sample",
        "launched",
        "read_per_sample",
        "written_fixed",
        "written_per_sample",
    )

    def __init__(self) -> None:
        self.flops_per_sample = {MATMUL_FP32: 0, MATMUL_HALF: 0, MATMUL_FP8: 0}
        self.bytes_per_sample = self.fixed_bytes = 0
        self.attention_forward = self.attention_backward = 0
        """FLOPs per sample of fused attention in half precision; half of the scores where they are causal."""
        self.attention_fp32 = 0
        """FLOPs per sample of fused attention in fp32, forward and backward, likewise."""
        self.launched = 0
        """Launches' worth of what the host does beside launching a kernel for each tensor that is allocated."""
        self.read_per_sample = 0
        """Bytes that narrow products read, for which they wait."""
        self.written_per_sample = self.written_fixed = 0
        """Bytes of the results of products: a tile's sums are written when its last product is done, and meanwhile its
        multiprocessor multiplies nothing."""
