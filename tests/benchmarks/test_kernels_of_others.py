"""Kernels that no choice of the planner names move, save and allocate what their sources do."""

from __future__ import annotations

import pytest
from published.libraries.kernels import megatron, scaled_causal_softmax, with_megatron

from planner.memory.attention.fused import Form
from planner.memory.autograd.ops import HALF, Ops
from planner.memory.autograd.tape import Snapshot, Tape, Tensor, Variable
from planner.memory.tracing.implementations import TODAY
from strategies import Kernels

TOKENS, HEADS, HEAD_DIM = 2048, 16, 128
SCORES = HEADS * TOKENS**2 * HALF
ACTIVATIONS = TOKENS * HEADS * HEAD_DIM * HALF


def peak(tape: Tape) -> int:
    return max(instant.per_sample for instant in map(Snapshot._make, tape.meter.mark()))


def moved(tape: Tape) -> int:
    return tape.cost.bytes_per_sample


def scores_of(f: Ops) -> Tensor:
    return Tensor(f.tape.storage(0, SCORES), 0, SCORES // HALF, TOKENS, HALF, Variable())


def softmax_there_and_back() -> tuple[int, int, Tape]:
    """Returns the bytes that a fused softmax moves in forward and in backward, and the tape that was played."""
    f = Ops(Tape(), autocast=None, sequence_length=TOKENS)
    out = scaled_causal_softmax(f, scores_of(f))
    forward, variable = moved(f.tape), out.variable
    assert variable is not None
    del out
    peak(f.tape)
    f.tape.backward(variable, f.tape.storage(0, SCORES))
    return forward, moved(f.tape) - forward, f.tape


def test_a_fused_softmax_reads_the_lower_triangle_alone_and_works_in_place_in_backward() -> None:
    forward, backward, tape = softmax_there_and_back()
    assert (forward, backward) == (SCORES * 3 // 2, SCORES * 2)
    assert peak(tape) == 2 * SCORES  # what it saved, and the gradient that it overwrites


def test_a_fused_softmax_takes_what_its_bytes_take() -> None:
    # Mist d69e530 on an L4, mist/node_database/cache_NVIDIA_L4: 128 matrices of 2,048 rows and columns, beside a GELU
    # of 8 x 2,048 x 8,192 elements, which reads and writes each.
    gelu = 2 * 8 * 2048 * 8192 * HALF / 0.0022415359
    forward, backward, _ = softmax_there_and_back()
    assert 8 * forward / 0.0067532799 == pytest.approx(gelu, rel=0.03)
    copied = 2 * SCORES  # backward is timed with a copy of the gradient
    assert 8 * (backward + copied) / 0.0182881279 == pytest.approx(gelu, rel=0.03)


def test_attention_with_a_fused_softmax_saves_no_scores() -> None:
    f = Ops(Tape(), autocast=None, sequence_length=TOKENS)
    query, key, value = (f.input(HEADS * HEAD_DIM, HALF, True, name) for name in "qkv")
    out = megatron(f, query, key, value, Form(HEADS, HEADS, 0.0, True, False, None, False))
    del query, key, value
    assert out.per_sample == ACTIVATIONS // HALF
    # the copies of q, k and v for the products, the probabilities, and the output
    assert f.tape.meter.per_sample == 3 * ACTIVATIONS + SCORES + ACTIVATIONS


def test_it_takes_the_place_of_eager_attention_within_blocks() -> None:
    changed = with_megatron(TODAY)
    assert changed.within_blocks[Kernels.EAGER] is not TODAY.within_blocks[Kernels.EAGER]
    assert changed.within_blocks[Kernels.LIGER] is TODAY.within_blocks[Kernels.LIGER]
