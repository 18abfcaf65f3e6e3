"""Finds the tensors that DeepSpeed's optimizer allocates once and holds from step to step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from planner.replay.engines.engine import Labelling


def label(zero: Any, live: Labelling) -> None:
    """Tells the recorder what the tensors of an optimizer of DeepSpeed are, of any stage."""
    for category, found in (
        ("parameters", _weights(zero)),
        ("optimizer_states", _masters(zero)),
        ("gradients", _shares(zero)),
        ("communication", _buffers(zero)),
    ):
        live.label(category, [(name, tensor, None) for name, tensor in found])


def masters_of(zero: Any) -> list[torch.Tensor]:
    """Returns the flat weights that the optimizer steps."""
    name = "fp32_partitioned_groups_flat" if is_stage_3(zero) else "single_partition_of_fp32_groups"
    return list(getattr(zero, name))


def is_stage_3(zero: Any) -> bool:
    """Returns whether an optimizer of DeepSpeed is that of stage 3."""
    return hasattr(zero, "fp32_partitioned_groups_flat")


def _weights(zero: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the flat tensors that hold the weights which the model's parameters are views of, or their shares."""
    for i, flat in enumerate(getattr(zero, "bit16_groups_flat", ())):
        yield f"weights of group {i}", flat
    if hasattr(zero, "lp_param_buffer"):
        yield "shares of the weights", zero.lp_param_buffer


def _masters(zero: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the flat weights that the optimizer steps."""
    for i, partition in enumerate(masters_of(zero)):
        yield f"master weights of group {i}", partition


def _shares(zero: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields this rank's shares of the gradients, which stage 3 allocates once."""
    if getattr(zero, "grad_partitions_flat_buffer", None) is not None:
        yield "shares of the gradients", zero.grad_partitions_flat_buffer


def _buffers(zero: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Yields the buckets in which stage 3 reduces gradients, which it allocates once as well."""
    if getattr(zero, "grad_partitions_flat_buffer", None) is not None:
        for bucket in zero.ipg_buckets.values():
            yield "reduce bucket", bucket.buffer
