"""Files are data: whatever they name, reading them imports nothing, connects to nothing and writes nothing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from planner.cli import main

ROOT = Path(__file__).parents[2]
EVIL = "import pathlib\npathlib.Path('ran').touch()\ndef build(): raise RuntimeError('evil ran')\n"
CODE = "evil:build"
LLAMA = {"model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
         "num_attention_heads": 4, "vocab_size": 100, "max_position_embeddings": 64}  # fmt: skip
UNKNOWN = {"model_type": "electra", "num_hidden_layers": 5, "hidden_size": 64, "num_attention_heads": 4,
           "intermediate_size": 128, "embedding_size": 64, "vocab_size": 99, "max_position_embeddings": 64}  # fmt: skip
NAMES_CODE = {
    "auto_map": {"AutoConfig": "evil.build", "AutoModelForCausalLM": "evil--evil.build"},
    "trust_remote_code": True,
    "_attn_implementation": "evil/kernel:build",
    "_name_or_path": "evil/evil",
    "custom_pipelines": {"evil": {"impl": "evil.build"}},
}


def plan_of(model: str) -> dict[str, Any]:
    asked = ("estimate", "pythia-70m", "--gpu", "T4", "--precision", "fp16-mixed", "--sequence-length", "16", "--json")
    plan = json.loads(CliRunner().invoke(main, asked).stdout)
    return {**plan, "request": {**plan["request"], "model": model, "task": None}}


def audited(
    folder: Path, *arguments: str, given: str | None = None
) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    """A run in a folder with a module that must not run, and what it did beyond reading."""
    (folder / "evil.py").write_text(EVIL)
    environment = {**os.environ, "PLANNER_CACHE": str(folder / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {"HF_HOME": str(folder / "hub"), "HF_HUB_OFFLINE": "", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("audited.py")), *arguments],
        input=given,
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )
    *errors, report = done.stderr.strip().splitlines()
    done.stderr = "\n".join(errors)
    return done, json.loads(report)


def written(folder: Path, name: str, content: object) -> str:
    (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return name


# --- configurations of a run ---


def test_a_configuration_that_names_code_scripts_and_downloads_is_only_read(tmp_path: Path) -> None:
    recipe = {"base_model": CODE, "sequence_len": 16, "plugins": ["evil.Plugin"], "trust_remote_code": True}
    recipe |= {"chat_template_jinja": "evil.py", "datasets": [{"path": "evil/evil"}], "deepspeed": "evil.py"}
    done, deeds = audited(tmp_path, "check", written(tmp_path, "run.yaml", recipe), "--gpu", "T4")
    assert done.returncode == 2
    assert "evil.py is not here: give it as another FILE" in " ".join(done.stdout.split())
    assert deeds == []
    del recipe["deepspeed"]
    done, deeds = audited(tmp_path, "check", written(tmp_path, "run.yaml", recipe), "--gpu", "T4")
    assert done.returncode == 2
    assert "run.yaml:1: plugins: axolotl's Plugin" in done.stdout
    assert deeds == []
    del recipe["plugins"]
    done, deeds = audited(tmp_path, "check", written(tmp_path, "run.yaml", recipe), "--gpu", "T4")
    assert done.returncode == 2
    assert "names the code 'evil:build', which would be imported and run" in " ".join(done.stdout.split())
    assert deeds == []
    recipe["base_model"] = "hf:evil/evil"
    done, deeds = audited(tmp_path, "check", written(tmp_path, "run.yaml", recipe), "--gpu", "T4")
    assert done.returncode == 2
    assert deeds == []


# --- plans ---


@pytest.mark.parametrize("is_file", [True, False])
def test_a_plan_that_names_code_is_refused(tmp_path: Path, is_file: bool) -> None:
    plan = json.dumps(plan_of(CODE))
    argument = written(tmp_path, "plan.json", plan) if is_file else "-"
    done, deeds = audited(tmp_path, "verify", argument, given=None if is_file else plan)
    name = "plan.json" if is_file else "standard input"
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        f"error: {name} names the code 'evil:build', which would be imported and run",
        "hint: if you trust it, say so: --model evil:build",
    ]
    assert deeds == []
    assert not (tmp_path / "ran").exists()


def test_a_plan_that_names_code_runs_it_when_its_user_repeats_the_name(tmp_path: Path) -> None:
    written(tmp_path, "plan.json", plan_of(CODE))
    done, deeds = audited(tmp_path, "verify", "plan.json", "--model", CODE)
    assert "evil:build failed with RuntimeError: evil ran" in done.stderr
    assert f"ran {tmp_path / 'evil.py'}" in deeds


@pytest.mark.parametrize("other", ["evil:other", "gpt2", "evil"])
def test_another_name_beside_the_plan_is_no_trust(tmp_path: Path, other: str) -> None:
    written(tmp_path, "plan.json", plan_of(CODE))
    done, deeds = audited(tmp_path, "verify", "plan.json", "--model", other)
    assert done.returncode == 2
    assert f"error: --model is '{other}', but plan.json is of 'evil:build'" in done.stderr
    assert deeds == []


def test_a_name_without_a_plan_to_repeat_it_for_is_refused() -> None:
    result = CliRunner().invoke(main, ["verify", "gpt2", "--gpu", "T4", "--model", "gpt2"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert "error: --model is given, but no plan file" in result.stderr


def test_a_plan_of_the_hub_is_read_from_the_local_cache_alone(tmp_path: Path) -> None:
    written(tmp_path, "plan.json", plan_of("hf:some/model"))
    done, deeds = audited(tmp_path, "verify", "plan.json")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: hf:some/model is named by a file and not in the local cache",
        "hint: --model hf:some/model downloads it",
    ]
    assert deeds == []


# --- configurations, catalogs, spaces ---


def test_a_configuration_of_a_known_family_is_data(tmp_path: Path) -> None:
    for name, content in (("known", LLAMA | NAMES_CODE), ("text", {"model_type": "evil", "text_config": LLAMA})):
        written(tmp_path, f"{name}.json", content | {"architectures": ["LlamaForCausalLM"]})
        done, deeds = audited(tmp_path, "estimate", f"{name}.json", "--gpu", "T4", "--sequence-length", "16")
        assert (done.returncode, done.stderr, deeds) == (0, "", [])


@pytest.mark.parametrize(
    ("architecture", "taken"),
    [
        ("ElectraForMaskedLM", "ElectraForMaskedLM"),
        ("pipeline", "ElectraForCausalLM"),
        ("AutoModelForMaskedLM", "ElectraForCausalLM"),
        ("evil", "ElectraForCausalLM"),
    ],
)
def test_whatever_a_configuration_names_a_class_that_trains_is_taken(architecture: str, taken: str) -> None:
    """`pipeline` is a function of transformers, and AutoModelForMaskedLM no model."""
    from planner.replay.structure.source import build

    model = build(UNKNOWN | NAMES_CODE | {"architectures": [architecture]}, torch.float32, "sdpa")
    assert type(model).__name__ == taken


def test_a_configuration_that_transformers_builds_runs_no_code_of_its_own(tmp_path: Path) -> None:
    written(tmp_path, "config.json", UNKNOWN | NAMES_CODE | {"architectures": ["evil"]})
    arguments = ("--gpu", "A100-40GB", "--sequence-length", "16", "--precision", "fp32", "--json")
    done, deeds = audited(tmp_path, "estimate", "config.json", *arguments)
    assert (done.returncode, [deed for deed in deeds if "evil" in deed or "socket" in deed]) == (0, [])
    assert json.loads(done.stdout)["request"]["num_parameters"] > 0
    assert not (tmp_path / "ran").exists()


def test_a_configuration_asks_for_no_weights(tmp_path: Path) -> None:
    """DETR's backbone would come from the Hub."""
    detr = {
        "model_type": "detr",
        "use_pretrained_backbone": True,
        "backbone": "some/resnet",
        "use_timm_backbone": False,
    }
    written(tmp_path, "config.json", detr | {"architectures": ["DetrForObjectDetection"]})
    done, deeds = audited(tmp_path, "estimate", "config.json", "--gpu", "T4")
    assert done.returncode == 2
    assert not [deed for deed in deeds if "socket" in deed]


@pytest.mark.parametrize(
    "content",
    [
        "gpus: !!python/object/apply:os.system ['touch ran']",
        "gpus: !!python/name:evil.build",
        "gpus: {T4: {source: 'evil:build', name: !!python/module:evil ''}}",
        "precision: !!python/object/new:evil.build []",
        "lora_targets: 'evil:build'",
        "schema_version: {$ref: evil.py}",
    ],
)
def test_catalogs_and_spaces_are_data(tmp_path: Path, content: str) -> None:
    file = written(tmp_path, "my.yaml", content)
    for arguments in (
        ("catalog", "check", file),
        ("gpus", "--catalog", file),
        ("fit", "gpt2", "--gpu", "T4", "--catalog", file),
        ("space", "show", file, "--gpu", "T4"),
        ("fit", "gpt2", "--gpu", "T4", "--space", file),
    ):
        done, deeds = audited(tmp_path, *arguments)
        assert done.returncode in (0, 2)
        assert deeds == []


def test_answers_write_nothing(tmp_path: Path) -> None:
    for arguments in (("fit", "gpt2", "--gpu", "T4"), ("models",), ("gpus", "--json"), ("schema", "fit")):
        done, deeds = audited(tmp_path, *arguments)
        assert (done.returncode, deeds) == (0, [])


# --- where the source reads files and runs code ---

READS = {
    "hardware/files/untrusted.py": "the one reader of files of strangers",
    "hardware/files/shipped.py": "the built-in catalog and registry",
    "planner/cli/output.py": "where output goes that nobody can see",
    "planner/exporting/scripts/loop.py": "run by users alone: its settings",
    "planner/exporting/scripts/measure.py": "run by users alone: what was predicted, and what it measures",
    "planner/exporting/scripts/reading.py": "run by users alone: their data",
    "planner/exporting/scripts/train_deepspeed.py": "run by users alone: its JSON",
    "planner/exporting/scripts/train_transformers.py": "run by users alone: its settings",
    "planner/exporting/shared/settings.py": "the scripts that are handed on",
    "planner/pages/report.py": "its template",
    "planner/profiles/store.py": "the replay's own code, of which it makes a digest",
    "planner/report/timeline/html.py": "its template",
}
RUNS = {
    "planner/__init__.py": "its own modules",
    "planner/api/__init__.py": "its own modules",
    "planner/cli/command.py": "its own commands",
    "planner/memory/layers/mixtures/__init__.py": "its own modules",
    "planner/models/families/__init__.py": "its own families",
    "planner/plugins.py": "plug-ins, which the user names",
    "planner/replay/structure/model_code.py": "module:function, which the user names",
    "planner/report/timeline/formats.py": "its own formats",
}


def calls(tree: ast.AST) -> set[str]:
    """Names of the functions and methods that are called."""
    functions = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    methods = {f".{function.attr}" for function in functions if isinstance(function, ast.Attribute)}
    return methods | {function.id for function in functions if isinstance(function, ast.Name)}


@pytest.mark.parametrize(
    ("names", "known"),
    [
        ({"open", ".open", ".read_text", ".read_bytes"}, READS),
        ({"exec", "eval", "__import__", "import_module", ".import_module", ".exec_module", ".run_path"}, RUNS),
    ],
)
def test_only_known_modules_read_files_or_run_code(names: set[str], known: dict[str, str]) -> None:
    found = set()
    for package in ("hardware", "strategies", "planner"):
        for file in (ROOT / package).rglob("*.py"):
            if calls(ast.parse(file.read_text())) & names:
                found.add(str(file.relative_to(ROOT)))
    assert found == set(known)
