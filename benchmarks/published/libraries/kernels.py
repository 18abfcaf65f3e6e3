"""Traces runs with kernels that no choice of the planner names, since no framework that it plans runs them.

They are the Triton kernels of fms-acceleration's plug-in, and the softmax of Megatron-LM's unfused attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from planner.memory.attention.fused import Form
from planner.memory.autograd.ops import Ops
from planner.memory.autograd.tape import Storage, Tensor
from planner.memory.layers.layers import Layers
from planner.memory.layers.liger import LigerLayers
from planner.memory.tracing.implementations import Implementations
from strategies import Kernels

MEGATRON = "megatron-fused-softmax"
"""Name in step_times.yaml of Megatron-LM's unfused attention with its fused softmax."""
FOAK = "foak"
"""Name of the kernels of fms-acceleration's plug-in."""


class Foak(LigerLayers):
    """RMSNorm and rotary embedding work in place as liger-kernel's do; the MLP is transformers' own.

    Source: fms_acceleration_foak, kernels/unsloth/rms_layernorm.py and rope_embedding.py, models/llama.py.
    """

    activation = Layers.activation
    mul = Layers.mul


def with_foak(today: Implementations) -> Implementations:
    """Returns implementations in which the choice `liger` means these kernels."""
    return today._replace(
        layers={**today.layers, Kernels.LIGER: Foak}, within_blocks={**today.within_blocks, Kernels.LIGER: Foak}
    )


def scaled_causal_softmax(f: Ops, scores: Tensor) -> Tensor:
    """Scales scores, masks and normalizes them in one kernel, and saves the result.

    Both passes read the lower triangle alone, in half precision, and compute in fp32. Forward writes zeros above it;
    backward overwrites the gradient that it is given (apex, csrc/megatron/scaled_upper_triang_masked_softmax.h; called
    by megatron/core/fusions/fused_softmax.py, `ScaledUpperTriangMaskedSoftmax`).
    """
    tape, size = f.tape, scores.per_sample * scores.itemsize
    tape.cost.bytes_per_sample += size // 2 - size  # of what the result's own account counts: all of the scores
    out = f.tensor(scores.per_sample, scores.width, scores.itemsize, "attention probabilities", scores)
    variable = scores.variable
    if out.variable is None or variable is None:
        return out

    def backward(gradient: Storage) -> None:
        tape.cost.bytes_per_sample += 2 * size  # the halves of gradient and result are read, the gradient is written
        tape.accumulate(variable, gradient)

    tape.record(out.variable, backward, tape.save(out))
    return out


def megatron(f: Ops, query: Tensor, key: Tensor, value: Tensor, form: Form) -> Tensor:
    """Computes causal attention as Megatron-LM's `DotProductAttention` does without a fused attention kernel.

    Scores stay in half precision, are scaled by the product or by the softmax, and no mask is made (megatron/core/
    transformer/dot_product_attention.py). Mist copies queries, keys and values heads first, which Megatron-LM's layout
    spares (mist/modules/mha.py, `SelfAttention.forward_fused_softmax`).
    """
    elements, sequence = query.per_sample, f.sequence_length
    query, key = f.broadcast(query, elements, "attention q"), f.broadcast(key, elements, "attention k")
    value = f.broadcast(value, elements, "attention v")
    flops = 2 * elements * sequence
    scores = f.matmul(query, key, form.heads * sequence**2, sequence, flops, "attention scores")
    del query, key
    probabilities = scaled_causal_softmax(f, scores)
    del scores
    probabilities = f.dropout(probabilities, form.dropout, "attention dropout")
    out = f.matmul(probabilities, value, elements, elements // sequence, flops, "attention output")
    del probabilities, value
    return f.unary(out, "attention output")


class Megatron(Layers):
    """Transformers' layers, with attention as Megatron-LM computes it."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.attention_kernel = megatron


def with_megatron(today: Implementations) -> Implementations:
    """Returns implementations in which eager attention means Megatron-LM's."""
    return today._replace(within_blocks={**today.within_blocks, Kernels.EAGER: Megatron})


IMPLEMENTATIONS: dict[str, Callable[[Implementations], Implementations]] = {MEGATRON: with_megatron, FOAK: with_foak}
"""What computes a run in place of today's implementations, by the name of its kernels."""
