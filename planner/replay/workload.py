"""Describes what one rank runs: sizes, kernels, and what its loop does."""

from __future__ import annotations

from typing import NamedTuple

from planner.libraries.sdpa import SdpaKernel
from strategies import Batching, Outputs

STEPS = 2
"""Number of optimizer steps that are run: optimizer states exist from the second step on."""


class Workload(NamedTuple):
    """Describes what one rank runs, and what its process allocates that no tensor shows."""

    sequence_length: int
    """Tokens per sample; of an encoder-decoder, those of the source."""
    micro_batch_size: int
    """Samples per rank in one forward pass."""
    gradient_accumulation_steps: int = 1
    """Micro-batches per optimizer step."""
    world_size: int = 1
    """Number of ranks."""
    cublas_workspace_bytes: int = 0
    """Bytes of a cuBLAS workspace; Python's thread and autograd's, which both multiply matrices, have one each."""
    outputs: Outputs = Outputs.RELEASED
    """How long the training loop keeps what the model returned."""
    sdpa_kernel: SdpaKernel | None = None
    """Kernel that SDPA runs; None for the one that torch selects at each call."""
    has_flash: bool = True
    """Whether the GPU has SDPA's flash kernel."""
    evaluation_batch_size: int | None = None
    """Samples that are evaluated at once after each step; None for no evaluation."""
    batching: Batching = Batching.FULL
    """Whether samples are full, padded or packed, which decides what a batch contains in addition to ids and labels."""
    prefers_cudnn: bool = False
    """Whether SDPA tries cuDNN's kernel first."""
    empties_cache: bool = True
    """Whether PEFT empties the cache before it adds adapters to a quantized model (it does from version 0.20 on)."""
    optimizer_steps: int = STEPS
    """Optimizer steps that are run."""
    updates: bool = True
    """Whether the optimizer updates the parameters; if not, gradients are freed where it would have."""
    accumulates_last: bool = False
    """Whether the last step alone accumulates; those before it have one micro-batch."""
    marks_gradients: bool = False
    """Whether the trace marks when autograd keeps a gradient, by events without bytes."""
    target_length: int | None = None
    """Tokens of the sequence that an encoder-decoder's decoder reads; None for as many as the source has."""
