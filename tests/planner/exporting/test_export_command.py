"""Plans of fit and of estimate go through the command to files, of which none is overwritten unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from exportable import planned

from planner import ExportError, export, fit
from planner.cli import main


def test_a_plan_of_fit_is_exported_by_its_rank() -> None:
    found = fit("llama-3.2-1b", gpu="A100-40GB", framework="trl", top=2)
    files = export(found, "trl", rank=2, dataset="me/mine")
    recipe = yaml.safe_load(files["sft.yaml"])
    assert recipe["per_device_train_batch_size"] == found.plans[1].micro_batch_size
    assert recipe["dataset_name"] == "me/mine"
    with pytest.raises(ExportError, match="not a plan"):
        export(found, "trl", rank=len(found.listed) + 1)


def run(*arguments: str, given: str | None = None) -> Result:
    return CliRunner().invoke(main, list(arguments), input=given)


def test_the_command_writes_files_and_overwrites_none(tmp_path: Path) -> None:
    plan = planned().model_dump_json()
    folder = tmp_path / "run"
    first = run("export", "-", "--to", "trl", "-o", str(folder), given=plan)
    assert first.exit_code == 0
    names = ("sft.yaml", "accelerate.yaml", "run.sh", "requirements.txt")
    assert first.stdout.splitlines() == [str(folder / name) for name in names]
    (folder / "run.sh").write_text("mine")
    again = run("export", "-", "--to", "trl", "-o", str(folder), given=plan)
    assert (again.exit_code, again.stdout) == (2, "")
    assert "would be overwritten" in again.stderr
    assert (folder / "run.sh").read_text() == "mine"
    assert run("export", "-", "--to", "trl", "-o", str(folder), "--force", given=plan).exit_code == 0
    assert (folder / "run.sh").read_text() != "mine"
    assert run("export", "-", "--to", "trll", given=plan).stderr.startswith("error: unknown target 'trll'")
    (tmp_path / "file").write_text("")
    assert run("export", "-", "--to", "trl", "-o", str(tmp_path / "file" / "x"), given=plan).exit_code == 2


def test_without_a_folder_files_are_in_one_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = planned().model_dump_json()
    monkeypatch.chdir(tmp_path)
    first = run("export", "-", "--to", "trl", given=plan)
    assert (first.exit_code, [path.name for path in tmp_path.iterdir()]) == (0, ["run"])
    assert sorted(first.stdout.splitlines()) == sorted(map(str, Path("run").iterdir()))
    assert run("export", "-", "--to", "trl", given=plan).exit_code == 2  # what is there stays


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    plan, named = planned().model_dump_json(), tmp_path / "sft.yaml"
    refused = run("export", "-", "--to", "trl", "-o", str(named), given=plan)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "sft.yaml is named like a file, and a folder gets sft.yaml, accelerate.yaml" in refused.stderr
    assert f"hint: -o {tmp_path / 'sft'}\n" in refused.stderr
    assert not named.exists()
    named.mkdir()
    assert run("export", "-", "--to", "trl", "-o", str(named), given=plan).exit_code == 0
    assert run("export", "-", "--to", "trl", "-o", str(tmp_path / "run.v1"), given=plan).exit_code == 0


def test_a_plan_of_fit_goes_through_a_pipe_to_a_script(tmp_path: Path) -> None:
    found = run("fit", "pythia-70m", "--gpu", "T4", "--top", "2", "--json")
    best, second = json.loads(found.stdout)["plans"][:2]
    for rank, plan in ((1, best), (2, second)):
        folder = tmp_path / str(rank)
        arguments = ("--to", "transformers", "--random-weights", "-o", str(folder), "--plan", str(rank))
        assert run("export", "-", *arguments, given=found.stdout).exit_code == 0
        recipe = yaml.safe_load((folder / "train.yaml").read_text())
        assert recipe["per_device_train_batch_size"] == plan["micro_batch_size"]
        assert (folder / "train.yaml").read_text().startswith("# planner export - --to transformers")


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    plan = planned().model_dump_json()
    folder = tmp_path / "run"
    (folder / "run.sh").mkdir(parents=True)
    done = run("export", "-", "--to", "trl", "-o", str(folder), "--force", given=plan)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert [path.name for path in folder.iterdir()] == ["run.sh"]
