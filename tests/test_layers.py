"""Imports point one way, and starting stays cheap."""

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from hardware import GPU
from planner import FitResult

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "optuna", "transformers", "jinja2", "numpy"}


def test_imports_point_from_planner_to_strategies_to_hardware() -> None:
    run = subprocess.run(["lint-imports"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("arguments", "absent"),
    [
        (["--help"], HEAVY | {"pydantic", "rich", "yaml"}),
        (["fit", "llama-7b", "--gpu", "A100-40GB", "--json"], HEAVY | {"rich", "json"}),
        (["fit", "llama-7b", "--gpu", "A100-40GB"], HEAVY),
    ],
)
def test_a_command_imports_no_more_than_it_needs(arguments: list[str], absent: set[str]) -> None:
    script = (
        "import sys\n"
        "from planner.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as end:\n    assert not end.code, end.code\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert not absent & set(run.stderr.split())


def test_annotations_of_records_are_no_text_that_pydantic_would_compile() -> None:
    models = [model for model in _below(BaseModel) if model.__module__.startswith(("hardware.", "planner.records."))]
    assert {FitResult, GPU} <= set(models)
    annotations = {model: inspect.get_annotations(model) for model in models}
    assert not {model for model, found in annotations.items() if any(isinstance(a, str) for a in found.values())}


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in model.__subclasses__():
        yield from (below, *_below(below))
