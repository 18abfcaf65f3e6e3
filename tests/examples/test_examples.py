"""The examples of pipelines run: a shell gate, a job of GitHub Actions, a task of Airflow, a notebook, a hook."""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from planner.cli import main

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment whose PATH has a `planner`, and whose `python` is this one."""
    for name, arguments in (("planner", "-m planner"), ("python", ""), ("python3", "")):
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {arguments} "$@"\n')
        command.chmod(0o755)
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PLANNER_ANSWER": str(tmp_path / "answer.json")}


def test_a_shell_gate_lets_through_what_fits(environment: dict[str, str], tmp_path: Path) -> None:
    def gate(gpu: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [str(EXAMPLES / "gate.sh"), gpu, str(EXAMPLES / "sft.yaml"), *more]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    fits = gate("H100")
    assert (fits.returncode, fits.stdout.splitlines()) == (0, [f"fits H100: {tmp_path / 'answer.json'}"])
    too_large = gate("RTX-3060", "per_device_train_batch_size=64")
    assert too_large.returncode == 1
    assert "+per_device_train_batch_size" in too_large.stderr
    assert gate("H100", "use_vllm=true").returncode == 2
    assert json.loads((tmp_path / "answer.json").read_text())["refused"]


def test_the_lines_of_the_github_job_run(environment: dict[str, str], tmp_path: Path) -> None:
    job = yaml.safe_load((EXAMPLES / "github-actions.yaml").read_text())["jobs"]["fits"]
    (tmp_path / "examples").symlink_to(EXAMPLES)
    lines = [step["run"] for step in job["steps"] if "run" in step and step["name"] != "install"]
    assert len(lines) == 3
    for line in lines:
        command = ["bash", "-e", "-o", "pipefail", "-c", line]
        subprocess.run(command, env={**environment, **job["env"]}, cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "launch/sft.yaml").exists()


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_task_returns_what_to_launch_as_json(tmp_path: Path) -> None:
    plan_run = module("airflow_task").plan_run
    recipe = str(EXAMPLES / "sft.yaml")
    answer = plan_run(recipe, "H100", str(tmp_path / "out"))
    assert (answer["recipe"], answer["fits"]) == (recipe, True)
    large = tmp_path / "large.yaml"
    large.write_text((EXAMPLES / "sft.yaml").read_text().replace("batch_size: 8", "batch_size: 64"))
    answer = plan_run(str(large), "RTX-3060", str(tmp_path / "out"))
    assert answer["fits"] is False
    assert CliRunner().invoke(main, ["check", answer["recipe"], "--gpu", "RTX-3060", "--gpus", "1"]).exit_code == 0
    assert json.loads(json.dumps(answer)) == answer


def test_the_cells_of_the_notebook_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    notebook = json.loads((EXAMPLES / "notebook.ipynb").read_text())
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert names["run"].fits
    assert names["best"].plans


def test_the_hook_takes_each_file_for_a_run(tmp_path: Path) -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    program, *arguments = hook["entry"].split()
    assert program == "planner"
    small, large, other = tmp_path / "small.yaml", tmp_path / "large.yaml", tmp_path / "other.yaml"
    small.write_text((EXAMPLES / "sft.yaml").read_text())
    large.write_text(small.read_text().replace("batch_size: 8", "batch_size: 640"))
    other.write_text("on: push\n")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [\n")

    def run(*files: Path) -> tuple[int, list[str]]:
        result = CliRunner().invoke(main, [*arguments, "--gpu", "RTX-3060", "--gpus", "1", *map(str, files)])
        return result.exit_code, result.stdout.splitlines()

    code, lines = run(small, other)
    assert code == 0
    assert [line.startswith("passed over: ") for line in lines] == [False, True]
    code, lines = run(small, large)
    assert code == 1
    assert ["does not fit" in line for line in lines] == [False, True]
    code, lines = run(large, broken)
    assert code == 2
    refused = CliRunner().invoke(main, [*arguments, str(small), "--json"])
    assert (refused.exit_code, refused.stdout) == (2, "")
