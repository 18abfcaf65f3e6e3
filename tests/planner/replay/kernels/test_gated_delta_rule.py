"""The stand-in of flash-linear-attention's gated delta rule, in a small Qwen3.5."""

import json
from pathlib import Path

import pytest
import torch
import transformers

import planner
from planner.replay.stand_ins import gated_delta_rule

TOKENS, HEADS, VALUE_HEADS, KEYS, VALUES = 128, 2, 4, 32, 64


def config_file(folder: Path) -> str:
    config = transformers.AutoConfig.for_model(
        "qwen3_5_text", hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=32, vocab_size=2000, linear_num_value_heads=VALUE_HEADS,
        linear_num_key_heads=HEADS, linear_key_head_dim=KEYS, linear_value_head_dim=VALUES,
    )  # fmt: skip
    file = folder / "qwen.json"
    file.write_text(json.dumps(config.to_dict(), default=str))
    return str(file)


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))


def test_the_rule_saves_what_the_kernels_save() -> None:
    half, tokens = torch.bfloat16, (1, TOKENS)
    q, k = (torch.empty(*tokens, HEADS, KEYS, dtype=half, requires_grad=True) for _ in range(2))
    v = torch.empty(*tokens, VALUE_HEADS, VALUES, dtype=half, requires_grad=True)
    g, beta = (torch.empty(*tokens, VALUE_HEADS, dtype=dtype, requires_grad=True) for dtype in (torch.float32, half))
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        out, state = gated_delta_rule._rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)
    keys, rstd, values = 2 * HEADS * KEYS, 4 * HEADS, 2 * VALUE_HEADS * VALUES
    of_heads = (4 + 2 + 2 * gated_delta_rule.CHUNK) * VALUE_HEADS
    assert sum(x.nbytes for x in saved) == TOKENS * (2 * (keys + rstd) + values + of_heads)
    assert (out.shape, out.dtype, state) == (v.shape, half, None)
    out.sum().backward()
    assert [x.grad is not None and x.grad.shape == x.shape for x in (q, k, v, g, beta)] == [True] * 5


def test_a_model_of_it_says_what_is_planned_and_has_its_own_loop_back_afterwards(tmp_path: Path) -> None:
    from transformers.models.qwen3_5 import modeling_qwen3_5

    own = modeling_qwen3_5.torch_chunk_gated_delta_rule
    options = {"gpu": "A100-40GB", "sequence_length": TOKENS}
    result = planner.estimate(config_file(tmp_path), precision="bf16-mixed", **options)
    assert any("pip install flash-linear-attention" in note for note in result.notes)
    assert modeling_qwen3_5.torch_chunk_gated_delta_rule is own


def test_the_kernels_do_not_run_in_fp32(tmp_path: Path) -> None:
    with pytest.raises(planner.PlannerError, match="gated delta rule does not run in fp32"):
        planner.estimate(config_file(tmp_path), gpu="A100-40GB", sequence_length=TOKENS, precision="fp32")
