"""What CONTRIBUTING adds by its diffs is planned, replayed, or refused with a reason."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DIFFS = re.findall(r"^```diff\n(.*?)^```$", (ROOT / "CONTRIBUTING.md").read_text(), re.MULTILINE | re.DOTALL)

SCRIPT = """
import json, sys
from planner import PlannerError, estimate, verify

ask = {"estimate": estimate, "verify": verify}[sys.argv[1]]


def asked(model, **options):
    try:
        result = ask(model, gpu="MyGPU", sequence_length=256, micro_batch_size=2, **options)
    except PlannerError as error:
        return str(error)
    return result.memory.allocated_bytes if sys.argv[1] == "estimate" else result.difference


found = {
    "gpu": asked("smollm2-135m"),
    "family": asked("afm-small"),
    "optimizer": asked("smollm2-135m", optimizer="sgd-momentum-fused"),
    "policy": asked("smollm2-135m", checkpointing="attention-only"),
    "loss": asked("smollm2-135m", loss="as-they-are", precision="bf16-true"),
    "framework": asked("smollm2-135m", framework="litgpt"),
}
if sys.argv[1] == "estimate":
    from planner import export

    found["launcher"] = sorted(export(estimate("smollm2-135m", gpu="MyGPU"), "lsf"))
print(json.dumps(found))
"""


def apply(diff: str, folder: Path) -> None:
    """Adds the lines of a diff to the files it names: after the line of context, or at the end where there is none."""
    for part in re.split(r"^ # ", diff, flags=re.MULTILINE)[1:]:
        name, *lines = part.splitlines()
        path, added = folder / name, "".join(f"{line[1:]}\n" for line in lines if line.startswith("+"))
        context = "".join(f"{line[1:]}\n" for line in lines if line.startswith(" "))
        text = path.read_text() if path.exists() else ""
        assert text.count(context) == 1 or not context, f"{name}: {context}"
        path.write_text(text.replace(context, context + added) if context else text + added)


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the sources with all diffs."""
    folder = tmp_path_factory.mktemp("changed")
    for package in ("hardware", "strategies", "planner"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "catalog.yaml", folder)
    for diff in DIFFS:
        apply(diff, folder)
    return folder


def answers(folder: Path, question: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    run = [sys.executable, "-c", SCRIPT, question]
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def test_there_is_a_diff_for_each_kind_of_addition() -> None:
    assert len(DIFFS) == 7


def test_what_the_diffs_add_is_planned_or_refused(changed: Path) -> None:
    found = answers(changed, "estimate")
    assert "the memory model has no account of framework litgpt" in found.pop("framework")
    assert "job.lsf" in found.pop("launcher")
    assert all(isinstance(answer, int) and answer > 0 for answer in found.values()), found
    assert found["optimizer"] < found["gpu"]
    assert found["policy"] < found["gpu"]
    assert found["loss"] < found["gpu"]


def test_what_the_diffs_add_is_replayed_or_refused(changed: Path) -> None:
    found = answers(changed, "verify")
    assert "has no account of framework litgpt" in found.pop("framework")
    assert found == pytest.approx(dict.fromkeys(found, 0.0), abs=1e-4)
