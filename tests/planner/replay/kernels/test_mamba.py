"""The stand-in of mamba-ssm's fused block, in a small Mamba 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers

import planner
from planner.replay.setup.build import linear_layers
from planner.replay.stand_ins.mamba import BLOCK

SAMPLES, TOKENS, HEADS, HEAD, GROUPS, STATES, CHUNK, HIDDEN = 2, 96, 8, 16, 2, 32, 64, 64
INNER = HEADS * HEAD
CONVOLVED = INNER + 2 * GROUPS * STATES


def config() -> transformers.PretrainedConfig:
    return transformers.AutoConfig.for_model(
        "mamba2", hidden_size=HIDDEN, num_heads=HEADS, head_dim=HEAD, n_groups=GROUPS, state_size=STATES,
        chunk_size=CHUNK, num_hidden_layers=3, vocab_size=500, expand=INNER // HIDDEN,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def file(tmp_path: Path) -> str:
    found = tmp_path / "mamba.json"
    found.write_text(json.dumps(config().to_dict(), default=str))
    return str(found)


@pytest.mark.parametrize("has_norm", [True, False])
def test_the_block_saves_what_the_kernels_save(has_norm: bool) -> None:
    half = torch.bfloat16

    def tensor(*shape: int, dtype: torch.dtype = half) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype, requires_grad=True)

    given = [
        tensor(SAMPLES, TOKENS, INNER + CONVOLVED + HEADS), tensor(CONVOLVED, 4), tensor(CONVOLVED), tensor(HEADS),
        tensor(HEADS, dtype=torch.float32),
    ]  # fmt: skip
    options = {"D": tensor(HEADS), "outproj_weight": tensor(HIDDEN, INNER), "outproj_bias": None}
    options["rmsnorm_weight"] = tensor(INNER) if has_norm else None
    saved: list[torch.Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.append(x) or x, lambda x: x):
        out = BLOCK.function(*given, **options, chunk_size=CHUNK, headdim=HEAD, ngroups=GROUPS)
    tokens, weights = SAMPLES * TOKENS, [x for x in (*given[1:], *options.values()) if x is not None]
    roots = 4 * GROUPS * has_norm
    expected = tokens * (2 * (INNER + CONVOLVED + HEADS) + 2 * INNER + roots) + sum(x.nbytes for x in weights)
    assert sum(x.nbytes for x in saved) == expected
    assert (out.shape, out.dtype) == ((SAMPLES, TOKENS, HIDDEN), half)
    out.sum().backward()
    assert all(x.grad is not None and x.grad.shape == x.shape for x in (given[0], *weights))


def test_a_quantized_projection_runs_transformers_own_loop() -> None:
    packed = torch.empty(INNER * HIDDEN // 2, 1, dtype=torch.uint8)
    options = {"D": torch.empty(HEADS), "headdim": HEAD, "outproj_weight": packed}
    assert BLOCK.function(*[torch.empty(1)] * 5, **options) is None


def test_peft_adapts_all_linear_layers_but_those_that_it_refuses(file: str) -> None:
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config())
    assert {path.rpartition(".")[2] for path in linear_layers(model)} == {"in_proj"}
    plan = planner.estimate(file, gpu="A100-40GB", sequence_length=TOKENS, finetuning="lora", lora_rank=4)
    assert any("mamba-ssm" in note for note in plan.notes)
    assert any("PEFT adapts no out_proj" in note for note in plan.notes)
    with pytest.raises(planner.PlannerError, match="no linear layer 'out_proj'"):
        planner.estimate(file, gpu="A100-40GB", finetuning="lora", lora_targets="out_proj")
