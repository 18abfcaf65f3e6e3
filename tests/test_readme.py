"""The README is true: its commands print what it shows, and its Python runs."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import SearchSpace
from planner.cli import main

README = (Path(__file__).parent.parent / "README.md").read_text()
CONSOLE = re.findall(r"^```console\n\$ planner (.*?)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
SPACES = re.findall(r"^```yaml\n(# space\.yaml.*?)^```$", README, re.MULTILINE | re.DOTALL)
PYTHON = re.findall(r"^```python\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def comparable(text: str) -> str:
    """Without what differs from run to run, the seconds of the search, and without trailing blanks."""
    text = re.sub(r"in [0-9.]+ m?s\b", "in some time", text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def test_there_are_examples() -> None:
    assert len(CONSOLE) >= 3
    assert PYTHON
    assert SPACES


@pytest.mark.parametrize(("arguments", "shown"), CONSOLE, ids=[a for a, _ in CONSOLE])
def test_a_command_prints_what_the_readme_shows(
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


@pytest.mark.parametrize("code", PYTHON)
def test_the_python_of_the_readme_runs(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code, "README.md", "exec"), {})
    promised = re.findall(r"# prints: (.*)", code)
    assert capsys.readouterr().out.splitlines() == promised


@pytest.mark.parametrize("text", SPACES)
def test_the_search_spaces_of_the_readme_are_read(text: str, tmp_path: Path) -> None:
    (tmp_path / "space.yaml").write_text(text)
    assert SearchSpace.read(tmp_path / "space.yaml").given()
