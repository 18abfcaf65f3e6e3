"""What reaches the terminal, and how wide."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.text import Text

from planner.cli import main, output
from planner.cli.output import print_document, print_report, print_text, show_progress
from planner.progress import Advance

ESTIMATE = ("estimate", "gpt2", "--gpu", "T4")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PLANNER_CATALOG", "PLANNER_DEBUG", "FORCE_COLOR"):
        monkeypatch.delenv(variable, raising=False)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


# What a terminal would obey or not show: CSI, OSC and its end, the eight-bit CSI, DEL, an override of the direction, a
# character of the plane of tags.
FOREIGN = "\x1b[31m \x1b]0;title\x07 \x9b2J \x7f \u202e \U000e0041"
SPELLED = "\\x1b[31m \\x1b]0;title\\x07 \\x9b2J \\x7f \\u202e \\U000e0041"


def test_control_characters_of_an_error_do_not_reach_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"unknown option --{SPELLED}\n" in run("fit", "7B", f"--{FOREIGN}").stderr

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError(FOREIGN)

    monkeypatch.setattr("planner.api.estimate", broken)
    monkeypatch.setenv("PLANNER_DEBUG", "1")
    assert f"RuntimeError: {SPELLED}\nerror: internal" in run(*ESTIMATE).stderr


def test_control_characters_of_a_report_are_spelled_out_and_its_own_colours_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for variable, value in (("FORCE_COLOR", "1"), ("TERM", "xterm-256color"), ("COLUMNS", "200")):
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    print_report(Text.assemble((FOREIGN, "bold"), "\nplain"))
    shown = SPELLED.replace("\\x07", "")  # which rich leaves out
    assert capsys.readouterr().out == f"\x1b[1m{shown}\x1b[0m\nplain\n"


def test_control_characters_of_a_document_are_its_own_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    document = {"é": [FOREIGN, "\udcff"]}
    print_document(json.dumps(document, ensure_ascii=False, indent=1))
    printed = capsys.readouterr().out
    assert printed.replace("\n", "").isprintable()
    assert '"é"' in printed
    assert json.loads(printed) == document


def test_control_characters_of_lines_are_spelled_out(capsys: pytest.CaptureFixture[str]) -> None:
    print_text(f"{FOREIGN}\nnext")
    assert capsys.readouterr().out == f"{SPELLED}\nnext\n"


def test_the_name_of_a_file_does_not_command_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "\x1b[31m\u202e.json"
    file.write_text(json.dumps(json.loads(run("models", "show", "gpt2", "--json").stdout)["config"]))
    for arguments in (("models", "show", str(file)), ("estimate", str(file), "--gpu", "T4")):
        for as_json in ((), ("--json",)):
            result = run(*arguments, *as_json)
            assert (result.exit_code, result.stderr) == (0, "")
            assert result.stdout.replace("\n", "").isprintable()
            assert ("\\u001b[31m\\u202e" if as_json else "\\x1b[31m\\u202e") in result.stdout


def test_what_a_catalog_quotes_does_not_command_the_terminal(tmp_path: Path) -> None:
    file = tmp_path / "\x1b[31m.yaml"
    file.write_text('gpus:\n  T4:\n    architecture: "tu\\e[31mRED\\e]0;title\\a"\n    source: "x\\e[2Jy"\n')
    for arguments in (
        ("gpus", "show", "T4", "--catalog", str(file)),
        ("gpus", "show", "T4", "--json", "--catalog", str(file)),
        ("catalog", "check", str(file)),
    ):
        result = run(*arguments)
        assert result.exit_code in {0, 2}
        assert result.output.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        *((text, "80") for text in ("", "0", "-1", "-99999999999", "abc", "8.5", "²", "1" * 5000)),
        *((text, "40") for text in ("1", "2", "39")),
        *((text, "1000") for text in ("1000000000", "9" * 40)),
    ],
)
def test_a_width_that_nobody_can_read_is_not_taken(monkeypatch: pytest.MonkeyPatch, asked: str, given: str) -> None:
    def no_terminal(_: int) -> os.terminal_size:
        raise OSError

    monkeypatch.setattr(os, "get_terminal_size", no_terminal)
    monkeypatch.setenv("LINES", asked)
    for arguments in (ESTIMATE, ("gpus", "show", "T4"), ("fit", "--help")):
        shown = []
        for columns in (asked, given):
            monkeypatch.setenv("COLUMNS", columns)
            result = run(*arguments)
            assert (result.exit_code, result.stderr) == (0, "")
            shown.append(result.stdout.splitlines())
        assert shown[0] == shown[1]
        assert len(shown[0]) > 10
        assert max(len(line.split()) for line in shown[0]) > 3


@pytest.mark.parametrize(("columns", "given"), [(0, 80), (7, 40), (120, 120)])
def test_a_report_is_as_wide_as_the_terminal_if_it_knows(
    monkeypatch: pytest.MonkeyPatch, columns: int, given: int
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((columns, 0)))
    shown = run("gpus", "show", "T4").stdout
    monkeypatch.setenv("COLUMNS", str(given))
    assert shown == run("gpus", "show", "T4").stdout


def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *lines: str, columns: int = 80) -> str:
    """What a terminal gets on stderr; its lines are cleared, as \\r and EL do, where they are drawn again."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr(output, "_columns", lambda: columns)
    for line in lines:
        show_progress(line)
    return capsys.readouterr().err.replace("\r\x1b[K", "<")


def test_progress_whose_end_is_known_is_a_bar_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    half, over = Advance("trial 50 of 100", 50, 100), Advance("all done", 0, 0)
    shown = told(monkeypatch, capsys, "loading", half, over, "replaying")
    assert shown == f"<planner: loading\n<planner: {'#' * 10}{'.' * 10} trial 50 of 100<<planner: replaying\n"
    narrow = told(monkeypatch, capsys, half, columns=45)
    assert len(narrow.removeprefix("<")) < 45


def test_where_nobody_waits_at_a_terminal_nothing_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    show_progress(Advance("trial 50 of 100", 50, 100))
    show_progress("loading")
    assert capsys.readouterr() == ("", "")
