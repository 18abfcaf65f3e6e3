"""`planner verify`: plans from files and from options."""

import json
import pickle
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from planner.answers.plans import plan_of
from planner.cli import main
from planner.problem.problem import Problem
from planner.problem.search_request import solver_of
from planner.search import search

PLAN = ("estimate", "pythia-70m", "--gpu", "T4", "--precision", "fp16-mixed", "--sequence-length", "128", "--json")


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=given)


def test_a_plan_of_standard_input_is_replayed() -> None:
    result = run("verify", "-", "--json", given=run(*PLAN).stdout)
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    estimated = json.loads(run(*PLAN).stdout)
    estimated["memory"]["unlimited_reserved_bytes"] = None  # the replay's own number is in the answer
    assert document["plan"] == {k: v for k, v in estimated.items() if k in document["plan"]}
    assert abs(document["difference"]) < 0.05


def test_a_plan_of_a_fit_is_chosen_by_its_rank(tmp_path: Path) -> None:
    fit = run("fit", "pythia-70m", "--gpu", "T4", "--sequence-length", "128", "--micro-batch-size", "1", "--json")
    file = tmp_path / "plans.json"
    file.write_text(fit.stdout)
    document = json.loads(run("verify", str(file), "--plan", "2", "--json").stdout)
    assert document["plan"] == json.loads(fit.stdout)["plans"][1]
    refused = run("verify", str(file), "--plan", "99")
    assert refused.exit_code == 2
    assert "not a plan 99" in refused.stderr


def test_a_plan_file_that_is_not_there_is_no_missing_option(tmp_path: Path) -> None:
    result = run("verify", str(tmp_path / "plan.json"))
    assert result.exit_code == 2
    assert "plan.json: no such file" in result.stderr
    assert "--gpu is missing" in run("verify", "pythia-70m").stderr


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"schema_version": 1}', "is not a plan"),
        ('{"schema_version": [', "is not a plan"),
        ('"schema_version"', "is not"),
    ],
)
def test_a_file_without_a_plan_is_refused(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content)
    result = run("verify", str(file))
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_an_option_beside_a_plan_is_refused_instead_of_ignored() -> None:
    result = run("verify", "-", "--precision", "fp32", given="{}")
    assert result.exit_code == 2
    assert "error: --precision is given beside a plan" in result.stderr


def test_without_the_extra_the_hint_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("planner.replay")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "transformers", None)
    result = run("verify", "pythia-70m", "--gpu", "T4", "--precision", "fp16-mixed")
    assert result.exit_code == 2
    assert "hint: pip install 'accelerate>=1.10' 'peft>=0.19' 'torch>=2.6' " in result.stderr


SMALL = ("pythia-70m", "--gpu", "RTX-3060-12GB", "--sequence-length", "128", "--max-accumulation", "1")


def test_fit_certifies_its_first_plan() -> None:
    document = json.loads(run("fit", *SMALL, "--micro-batch-size", "2", "--verify", "--json").stdout)
    assert document["verification"]["plan"] == document["plans"][0]
    assert document["verification"]["fits"]


def test_fit_steps_down_where_the_replay_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The closed form covers what expandable segments need: promise less of it, and a replay denies the promise."""
    monkeypatch.setattr("planner.memory.step.process.EXPANDABLE_PER_MILLE", 0)
    monkeypatch.setattr("planner.memory.step.process.EXPANDABLE_BYTES", 0)
    verified = json.loads(run("fit", *SMALL, "--allocator", "expandable", "--verify", "--json").stdout)
    fields = {"sequence_length": 128, "max_accumulation": 1}
    problem = Problem("pythia-70m", "RTX-3060-12GB", None, {"allocator": "expandable"}, fields)
    solver = solver_of(problem)
    promised = search(problem.space(), solver).ranking
    denied = verified["rejected"]["the replay does not fit"]
    assert denied >= 1
    skipped = sum(number for reason, number in verified["rejected"].items() if "cannot be replayed" in reason)
    assert verified["searched"]["feasible"] == len(promised) - denied - skipped
    if verified["plans"]:
        *_, expected = promised.first(denied + skipped + 1)
        assert verified["plans"][0] == json.loads(plan_of(expected, solver).model_dump_json())
        assert verified["verification"]["fits"]


def test_files_are_written_beside_a_plan(tmp_path: Path) -> None:
    page, snapshot = tmp_path / "step.html", tmp_path / "memory.pickle"
    page.write_text("old")
    result = run("verify", "-", "--timeline", str(page), "--snapshot", str(snapshot), given=run(*PLAN).stdout)
    assert result.exit_code == 0
    assert page.read_text().startswith("<!doctype html>")
    assert list(pickle.loads(snapshot.read_bytes())) == [
        "segments",
        "device_traces",
        "allocator_settings",
        "external_annotations",
    ]
    assert sorted(tmp_path.iterdir()) == [snapshot, page]


@pytest.mark.parametrize(
    ("option", "name", "message", "hint"),
    [
        ("--timeline", "step.pdf", "a timeline cannot be a .pdf file", "one of .html, .png, .csv"),
        ("--timeline", "step", "a timeline cannot be a file without a suffix (step)", "one of .html, .png, .csv"),
        ("--timeline", "missing/step.csv", "has no directory to be in", "mkdir -p"),
        ("--snapshot", "missing/memory.pickle", "has no directory to be in", "mkdir -p"),
        ("--snapshot", "memory.html", "a snapshot is a .pickle or .pkl file, not memory.html", "memory.pickle"),
    ],
)
def test_a_file_that_cannot_be_written_is_refused_before_the_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, name: str, message: str, hint: str
) -> None:
    def replay(*_: object) -> None:
        raise AssertionError("replayed")

    monkeypatch.setattr("planner.verification.verify.verify_candidate", replay)
    result = run("verify", "pythia-70m", "--gpu", "T4", option, str(tmp_path / name))
    assert result.exit_code == 2
    assert message in result.stderr
    assert f"hint: {hint}" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_that_is_not_there_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run("verify", "pythia-70m", "--gpu", "T4", "--precision", "fp32", "--device", "cuda")
    assert result.exit_code == 2
    assert "finds no CUDA device here" in result.stderr
    assert "hint: run on the GPU, or --device cpu" in result.stderr


def test_the_device_is_chosen_beside_a_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    result = run("verify", "-", "--device", "cuda", given=run(*PLAN).stdout)
    assert "finds no CUDA device here" in result.stderr
