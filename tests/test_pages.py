"""The documents are true: their commands print what they show, their Python runs, their counts and paths are right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from hardware import load_catalog
from planner import SearchSpace
from planner.cli import main
from planner.models import registry_models, replayed_models

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = {path.name: path.read_text() for path in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])}


def blocks(language: str) -> list[tuple[str, str]]:
    """All blocks of a language, with the page that each is on."""
    pattern = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(name, text) for name, page in PAGES.items() for text in pattern.findall(page)]


CONSOLE = [
    (arguments, shown)
    for _, text in blocks("console")
    for arguments, shown in re.findall(r"\A\$ planner (.*?)\n(.*)\Z", text, re.DOTALL)
]
SPACES = [text for _, text in blocks("yaml") if text.startswith("# space.yaml")]
PYTHON = [(name, text) for name, text in blocks("python") if name != "CONTRIBUTING.md"]


def comparable(text: str) -> str:
    """Without what differs from run to run, the seconds of a search or a replay, and without trailing blanks."""
    text = re.sub(r"in [0-9.]+ m?s\b", "in some time", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_there_are_examples() -> None:
    assert len(CONSOLE) >= 4
    assert len(PYTHON) >= 2
    assert SPACES


@pytest.mark.parametrize(("arguments", "shown"), CONSOLE, ids=[a for a, _ in CONSOLE])
def test_a_command_prints_what_a_document_shows(
    arguments: str, shown: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)
    result = CliRunner().invoke(main, shlex.split(arguments))
    output, shown = comparable(result.stdout), comparable(shown)
    if shown.endswith("..."):
        assert output.startswith(shown.removesuffix("...").rstrip())
    else:
        assert output == shown


@pytest.mark.parametrize(("name", "code"), PYTHON, ids=[name for name, _ in PYTHON])
def test_the_python_of_a_document_runs(name: str, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, name, "exec"), {})
    promised = re.findall(r"# prints: (.*)", code)
    assert capsys.readouterr().out.splitlines() == promised


@pytest.mark.parametrize("text", SPACES)
def test_the_search_spaces_of_the_documents_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    assert SearchSpace.read(tmp_path / "space.yaml").given()


def test_the_counts_are_those_of_registry_and_catalog() -> None:
    models = list(registry_models())
    names, families = len(models), len({model.model_type for model in models})
    gpus = len(load_catalog().names())
    replayed = len(replayed_models())
    assert f"{names} names of {families} families and {replayed} names that" in README
    assert f"`planner fit olmo-3-7b` and {replayed - 1} other names" in PAGES["models.md"]
    assert f"{replayed} names of models that no family describes" in PAGES["CHANGELOG.md"]
    assert f"`planner gpus` lists {gpus};" in README
    assert f"`planner machines` {len(load_catalog().machines)} instances of clouds" in README
    assert f"The memory of {families} families is derived" in PAGES["models.md"]
    assert f"{names} models of {families} families; Hub ids and bare sizes; {gpus} GPUs" in PAGES["CHANGELOG.md"]


@pytest.mark.parametrize("name", PAGES)
def test_the_paths_and_links_of_a_document_are_there(name: str) -> None:
    page = re.sub(r"^```.*?^```$", "", PAGES[name], flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page):
        base = ROOT if (ROOT / name).exists() else ROOT / "docs"
        assert (base / link).exists(), f"{name} links to {link}"
    for path in re.findall(r"`((?:planner|strategies|hardware|tests|benchmarks|docs)/[\w/.]+)`", page):
        assert (ROOT / path).exists(), f"{name} names {path}"


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) < 160
