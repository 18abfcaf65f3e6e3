"""Layers with adapters that a file names by paths or by a regular expression are those that PEFT would find."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import CheckResult, check
from planner.readers.documents.patterns import problem_of

QV = ["q_proj", "v_proj"]
LAYERS = "model.language_model.layers"


def checked(folder: Path, targets: Any, model: str = "meta-llama/Llama-3.2-1B", **keys: Any) -> CheckResult:
    file = folder / "axolotl.yml"
    asked = {"base_model": model, "adapter": "lora", "lora_r": 8, "lora_target_modules": targets, "bf16": True, **keys}
    file.write_text(yaml.safe_dump({**asked, "sequence_len": 512}))
    return check(file, gpu="H100", gpus=1)


@pytest.mark.parametrize(
    ("targets", "model", "expected"),
    [
        (r"model\.layers\.\d+\.self_attn\.(q|v)_proj", "meta-llama/Llama-3.2-1B", QV),
        (["self_attn.q_proj", "self_attn.v_proj"], "meta-llama/Llama-3.2-1B", QV),
        (r".*\.(q|k|v|o|gate|up|down)_proj", "meta-llama/Llama-3.2-1B", "all-linear"),
        (
            rf"{LAYERS}.[\d]+.(mlp|cross_attn|self_attn).(up|down|gate|q|k|v|o)_proj",
            "google/gemma-3-4b-it",
            "all-linear",
        ),
        (r".*\.c_attn", "gpt2", ["c_attn"]),
    ],
)
def test_an_expression_means_the_layers_that_it_matches(
    targets: Any, model: str, expected: Any, tmp_path: Path
) -> None:
    found = checked(tmp_path, targets, model)
    assert not found.refused
    assert found.reading["lora_targets"].value == expected
    assert found.plan is not None


@pytest.mark.parametrize(
    ("targets", "model", "reason"),
    [
        (
            r".*\.layers\.[0-5]\..*q_proj",
            "meta-llama/Llama-3.2-1B",
            "adapters on 6 of 16 layers q_proj: on model.layers.0.",
        ),
        (["layers.3.mlp.up_proj"], "meta-llama/Llama-3.2-1B", "adapters on 1 of 16 layers up_proj"),
        (r".*(q_proj|lm_head)", "meta-llama/Llama-3.2-1B", "adapters on model.lm_head, lm_head"),
        (r"visual\..*proj", "google/gemma-3-4b-it", "matches no linear layer of google/gemma-3-4b-it"),
        (["(q|v)_proj", "o_proj"], "gpt2", "a list of regular expressions, which PEFT takes as names"),
        (r".*\.gate_proj", "deepseek-v2-lite", "experts of deepseek-v2-lite are parameters"),
        (r".*\.query", "bert-base", "the paths of bert-base's modules are not known"),
        ("(a+)+b", "gpt2", "repeats too much to be tried"),
    ],
)
def test_what_has_no_word_is_refused_by_its_name(targets: Any, model: str, reason: str, tmp_path: Path) -> None:
    found = checked(tmp_path, targets, model)
    assert found.plan is None
    assert any(reason in remark.what for remark in found.refused), found.refused


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        (r"model\.layers\.\d+\.(mlp|self_attn)\.(up|q)_proj", None),
        (r"^(?!.*visual).*\.(?:q|k)_proj$", None),
        (r"[+*]{2}a\+b", None),
        ("(a|a)*", "repeats too much to be tried"),
        ("(?:a?){40}", "repeats too much to be tried"),
        (".*.*.*.*.*", "repeats too much to be tried"),
        ("(", "is no regular expression"),
        ("a" * 1001, "is longer than 1000 characters"),
    ],
)
def test_a_strangers_expression_is_tried_only_if_matching_it_takes_no_time(expression: str, problem: str) -> None:
    assert problem_of(expression) == problem


def test_a_name_of_a_list_without_a_layer_gets_no_adapter(tmp_path: Path) -> None:
    """Published lists name layers that a model has not: Phi-3 has qkv_proj and gate_up_proj, and PEFT trains o_proj."""
    found = checked(tmp_path, ["q_proj", "o_proj", "gate_proj"], "microsoft/Phi-3-mini-4k-instruct")
    assert not found.refused
    assert found.reading["lora_targets"].value == ["o_proj"]
    assert any("has no layer q_proj, gate_proj" in note for note in found.notes)
    assert checked(tmp_path, ["q", "k"], "microsoft/Phi-3-mini-4k-instruct").refused
    assert checked(tmp_path, ["q_proj", "lm_head"]).refused
