"""LayerNorm on fake tensors of the CPU keeps what CUDA's kernel keeps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from planner import verify
from planner.replay.cuda.norms import layer_norm

ROWS, WIDTH = (4, 8), 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_statistics_of_each_row_are_kept_in_fp32(dtype: torch.dtype) -> None:
    kept: list[torch.Tensor] = []
    with FakeTensorMode():
        x = torch.empty(*ROWS, WIDTH, dtype=dtype, requires_grad=True)
        weight, bias = (torch.empty(WIDTH, dtype=dtype, requires_grad=True) for _ in range(2))
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            out = layer_norm(x, (WIDTH,), weight, bias)
        out.backward(torch.empty_like(out))
        statistics = [(t.dtype, t.numel()) for t in kept if t.shape[-1] == 1]
        assert statistics == [(torch.float32, 32)] * 2
        assert [(t.grad.dtype, t.grad.shape) for t in (x, weight, bias) if t.grad is not None] == [
            (dtype, t.shape) for t in (x, weight, bias)
        ]


def test_a_norm_without_weights_gives_its_input_alone_a_gradient() -> None:
    with FakeTensorMode():
        x = torch.empty(*ROWS, WIDTH, dtype=torch.bfloat16, requires_grad=True)
        layer_norm(x, (WIDTH,)).sum().backward()
        assert x.grad is not None
        assert x.grad.shape == x.shape


TOLERANCE = 100_000
"""Bytes by which model and replay may differ, in labels and counters: half precision would keep 425,984 bytes less."""


def test_the_norms_of_a_model_in_half_precision_are_those_of_the_memory_model(tmp_path: Path) -> None:
    sizes = {"n_embd": 256, "n_layer": 6, "n_head": 4, "n_positions": 1024, "vocab_size": 512}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2", **sizes}))
    choices = {"gpu": "A100-80GB", "sequence_length": 1024, "micro_batch_size": 8, "precision": "bf16-true"}
    phases = verify(str(tmp_path), **choices).phases  # type: ignore[arg-type]  # all of them are options
    assert max(abs(phase.model_bytes - phase.replay_bytes) for phase in phases.values()) < TOLERANCE
