"""torchtitan's TOML is read, planned and changed; what its steps do and nobody derives is refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from hardware import PlannerError
from planner import CheckResult, check
from planner.readers.documents.toml import toml_rewritten

TITAN = """\
[job]
description = "a run"

[model]
name = "llama3"
flavor = "8B"

[training]
local_batch_size = 2  # as many as fit
seq_len = 4096
dtype = "float32"

[activation_checkpoint]
mode = "selective"
selective_ac_option = "op"

[compile]
enable = false
"""


def read(text: str, tmp_path: Path, **options: Any) -> CheckResult:
    file = tmp_path / "run.toml"
    file.write_text(text)
    return check(file, **options)


def test_a_run_of_torchtitan_is_read_with_lines_and_planned(tmp_path: Path) -> None:
    result = read(TITAN, tmp_path, gpu="H100", gpus=8)
    said = {word: setting.value for word, setting in result.reading.items()}
    assert said == {
        "model": "meta-llama/Llama-3.1-8B",
        "task": "pretraining",
        "finetuning": "full",
        "quantization": "none",
        "offload": "none",
        "sharding": "full_shard",
        "sharding_backend": "fsdp2",
        "precision": "bf16-mixed",
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "sequence_length": 4096,
        "batching": "full",
        "optimizer": "adamw",
        "checkpointing": "selective-every-second-matmul",
        "attention": "sdpa",
        "kernels": "eager",
        "loss": "full",
    }
    place = result.reading["micro_batch_size"].place
    assert place is not None
    assert (place.line, place.key) == (9, "training.local_batch_size")
    assert result.plan is not None
    assert result.fits


@pytest.mark.parametrize(
    ("old", "new", "word", "value"),
    [
        ('option = "op"', 'option = "3"', "checkpoint_every", 3),
        ('"selective"', '"full"', "checkpointing", "full"),
        ("enable = false", "enable = true", "kernels", "compile"),
        ("enable = false", "enable = true", "loss", "compiled"),
        ("enable = false", 'enable = true\ncomponents = ["loss"]', "kernels", "eager"),
        ("enable = false", 'enable = true\ncomponents = ["loss"]', "loss", "compiled"),
        ("enable = false", 'enable = true\ncomponents = ["model"]', "loss", "full"),
        ('dtype = "float32"', 'dtype = "bfloat16"', "precision", "bf16-true"),
        ('"8B"', '"8B_flex"', "attention", "flex"),
        ('"8B"', '"8B"\nconverters = ["float8"]', "precision", "fp8-mixed"),
        ('dtype = "float32"', "enable_cpu_offload = true", "offload", "cpu"),
        ('dtype = "float32"', "global_batch_size = 64", "global_batch_size", 64),
        ("local_batch_size", "batch_size", "micro_batch_size", 2),
        ("[compile]", "[parallelism]\ndata_parallel_shard_degree = 4\n[compile]", "gpus", 4),
        ("[compile]", "[parallelism]\ndata_parallel_shard_degree = 1\n[compile]", "sharding", "no_shard"),
        ("[compile]", '[parallelism]\nfsdp_reshard_after_forward = "never"\n[compile]', "sharding", "shard_grad_op"),
        ("[compile]", "[optimizer]\nearly_step_in_backward = true\n[compile]", "update", "in-backward"),
    ],
)
def test_each_key_says_its_setting(old: str, new: str, word: str, value: Any, tmp_path: Path) -> None:
    assert read(TITAN.replace(old, new, 1), tmp_path).reading[word].value == value


def test_replicas_of_what_a_node_divides_are_a_hybrid(tmp_path: Path) -> None:
    mesh = "[parallelism]\ndata_parallel_replicate_degree = 2\ndata_parallel_shard_degree = 8\n[compile]"
    said = read(TITAN.replace("[compile]", mesh), tmp_path).reading
    assert [said[word].value for word in ("sharding", "gpus", "nodes")] == ["hybrid_shard", 8, 2]


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ("[parallelism]\ntensor_parallel_degree = 8", "tensor parallelism, and a loss in parts of the vocabulary"),
        ("[parallelism]\npipeline_parallel_degree = 2", "pipeline parallelism"),
        ("[quantize.linear.float8]\nenable_fsdp_float8_all_gather = true", "fp8 gathers"),
        ('[optimizer]\nname = "Muon"', "the optimizer Muon"),
        ('[optimizer]\nimplementation = "for-loop"', "AdamW as a for-loop: parameter by parameter"),
    ],
)
def test_what_has_no_word_is_refused_by_name(more: str, what: str, tmp_path: Path) -> None:
    assert [remark.what for remark in read(f"{TITAN}{more}\n", tmp_path).refused] == [what]


def test_experts_and_models_for_tests_are_refused(tmp_path: Path) -> None:
    experts = read(TITAN.replace('"llama3"', '"qwen3"').replace('"8B"', '"30B-A3B"'), tmp_path)
    assert [remark.what for remark in experts.refused] == ["experts in grouped products of torchtitan's own"]
    small = read(TITAN.replace('"8B"', '"debugmodel"'), tmp_path)
    assert [remark.what for remark in small.refused] == ["the model llama3, debugmodel, of torchtitan's own"]


def test_a_change_keeps_the_comments_of_a_toml(tmp_path: Path) -> None:
    result = read(TITAN, tmp_path, gpu="A100-40GB", gpus=8)
    assert not result.fits
    change = result.changes[0]
    (text,) = change.files.values()
    assert "# as many as fit" in text
    assert tomllib.loads(text) != tomllib.loads(TITAN)
    assert read(text, tmp_path, gpu="A100-40GB", gpus=8).fits


def test_broken_toml_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(PlannerError, match=r"run\.toml:2:\d+: \(file\): not valid TOML"):
        read("[job]\na = \n", tmp_path)


@pytest.mark.parametrize(
    ("text", "path", "value", "expected"),
    [
        ("[a]\nb = 1 # c\n", ("a", "b"), 2, "[a]\nb = 2 # c\n"),
        ("[a]\nb = [1, 2] # c\n", ("a", "b"), "x", '[a]\nb = "x" # c\n'),
        ('[a]\nb = "#1"\n[c]\n', ("a", "d"), True, '[a]\nb = "#1"\nd = true\n[c]\n'),
        ("[a]\r\nb = 1\r\n", ("e", "f"), 1.5, "[a]\r\nb = 1\r\n\r\n[e]\r\nf = 1.5\r\n"),
        ("a.b = 1\n", ("a", "b"), 3, "a.b = 3\n"),
    ],
)
def test_a_key_of_toml_is_set(text: str, path: tuple[str, ...], value: Any, expected: str) -> None:
    assert toml_rewritten(text, path, value) == expected
    found: Any = tomllib.loads(expected)
    for name in path:
        found = found[name]
    assert found == value


def test_a_value_over_several_lines_is_not_set() -> None:
    with pytest.raises(ValueError, match="does not end on its line"):
        toml_rewritten("a = [\n1,\n]\n", ("a",), 2)
