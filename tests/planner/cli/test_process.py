"""Real processes: what they import, how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIT = ("fit", "tinyllama-1.1b", "--gpu", "A100-40GB")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *arguments], capture_output=True, text=True, cwd=ROOT, check=False
    )


def imported(*arguments: str) -> set[str]:
    """Top-level packages that a run has imported at its end."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(*sys.modules, file=sys.stderr))\n"
        f"from planner.cli import main; main({list(arguments)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stderr.split())


def packages(modules: set[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


def test_a_plan_is_made_without_looking_for_reference_cycles() -> None:
    code = (
        "import atexit, gc, sys\n"
        "searches = []\n"
        "gc.callbacks.append(lambda phase, info: searches.append(info['generation']) if phase == 'start' else None)\n"
        "atexit.register(lambda: print(len(searches), gc.get_freeze_count(), file=sys.stderr))\n"
        f"from planner.cli import main; searches.clear(); main({[*FIT, '--json']!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    searches, frozen = map(int, done.stderr.split())
    assert searches < 10 < frozen


@pytest.mark.parametrize("arguments", [("--help",), ("--version",)])
def test_help_and_version_import_little_but_click(arguments: tuple[str, ...]) -> None:
    modules = imported(*arguments)
    assert not packages(modules) & {"pydantic", "yaml", "rich", "hardware", "strategies", "torch", "optuna", "numpy"}
    ours = {module for module in modules if module.startswith("planner")}
    assert ours == {"planner", "planner.cli", "planner.cli.app", "planner.cli.commands"}


@pytest.mark.parametrize("arguments", [(*FIT, "--json"), ("gpus", "--json"), ("models", "--json")])
def test_json_imports_nothing_that_draws_or_trains(arguments: tuple[str, ...]) -> None:
    assert not packages(imported(*arguments)) & {"rich", "torch", "optuna", "transformers", "jinja2", "numpy"}


def test_a_report_imports_nothing_that_trains() -> None:
    assert not packages(imported(*FIT)) & {"torch", "optuna", "transformers", "jinja2", "numpy"}


def test_a_plan_is_found_and_drawn_without_colour_in_a_pipe() -> None:
    done = run(*FIT)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tinyllama-1.1b, 1.10 B parameters, on 1 x A100-40GB-SXM")
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_an_error_is_two_lines_and_exit_code_2() -> None:
    done = run("fit", "7B", "--gpu", "T4", "--precision", "int3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown precision 'int3'\nhint: ")


def test_the_version_is_one_line() -> None:
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("planner")


@pytest.mark.parametrize("arguments", [("models", "--json"), ("models",), ("--help",)])
def test_a_reader_that_stops_early_is_no_error(arguments: tuple[str, ...]) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "planner", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_output_that_cannot_be_written_is_said() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "planner", "gpus", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            check=False,
        )
    assert (done.returncode, done.stderr) == (70, "error: No space left on device\n")


def test_a_terminal_without_unicode_is_served() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "planner", *FIT],
        env={"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
