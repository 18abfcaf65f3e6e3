"""Ctrl-C, at whatever moment it comes, ends the command with 130 and without a word."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIT = ("fit", "tinyllama-1.1b", "--gpu", "A100-40GB")
LIGHT = {
    "gc",
    "__future__",
    "importlib",
    "importlib._bootstrap",
    "importlib._bootstrap_external",
    "warnings",
    "atexit",
    "_signal",
}
SAYS_READY = """
import os, sys

class Ready:
    def find_spec(self, name, *rest):
        if name == "planner.cli":  # the first import of the command; before it, Python starts
            os.write(2, b".")

sys.meta_path.insert(0, Ready())
"""
SLOW = """
import atexit, os, time

def slow():
    os.write(2, b".")
    for _ in range(300):  # Python sees a signal that comes just before a sleep only after it
        time.sleep(0.1)

"""
"""Beginning of a plug-in, which says that it is ready and then takes half a minute."""


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts the command, and returns when it is ready for an interrupt; with a plug-in, when that says so."""
    (tmp_path / "sitecustomize.py").write_text(SAYS_READY)

    def start(
        *arguments: str, plugin: str = "", ignored: bool = False, stdout: int = subprocess.PIPE
    ) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PLANNER_")}
        if plugin:
            (tmp_path / "plugin.py").write_text(f"{SLOW}{plugin}\n")
            environment["PLANNER_PLUGINS"] = str(tmp_path / "plugin.py")
        else:
            environment["PYTHONPATH"] = str(tmp_path)
        process = subprocess.Popen(
            [sys.executable, "-m", "planner", *arguments],
            stdout=stdout,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler),
        )
        assert process.stderr is not None
        assert process.stderr.read(1) == b"."
        return process

    return start


def full_pipe() -> tuple[int, int]:
    """A pipe that takes nothing more until something is read."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writer, True)
    return reader, writer


def interrupted(process: subprocess.Popen[bytes], after: float = 0) -> tuple[int, bytes]:
    """The exit code of a process that gets an interrupt, and what it says on stderr after it was ready."""
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)  # code that is interrupted here sleeps longer
    return process.returncode, errors


@pytest.mark.parametrize("arguments", [FIT, (*FIT, "--json")])
def test_at_any_moment(start: Callable[..., subprocess.Popen[bytes]], arguments: tuple[str, ...]) -> None:
    with ThreadPoolExecutor(4) as pool:
        found = set(pool.map(lambda i: interrupted(start(*arguments), i / 100), range(40)))
    assert (130, b"") in found
    assert found <= {(130, b""), (0, b"")}


@pytest.mark.parametrize(
    "plugin",
    [
        "slow()",
        # What an interrupt becomes in code that takes it for an error of its own, or drops it.
        "class Slow:\n  def __set_name__(*_): slow()\nclass Plug:\n  in_ = Slow()",
        "class Slow:\n  def __del__(_): slow()\nSlow()",
        "try: slow()\nexcept BaseException: pass",
        "try: slow()\nexcept BaseException: raise SystemExit(3)",
        "exec('''slow()''')",
        # At the end of the process.
        "atexit.register(slow)",
        "import threading; threading.Thread(target=lambda: (time.sleep(1), slow())).start()",
    ],
)
def test_in_code_that_does_not_let_it_through(start: Callable[..., subprocess.Popen[bytes]], plugin: str) -> None:
    assert interrupted(start("--version", plugin=plugin)) == (130, b"")


def test_while_nobody_reads_the_output(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    reader, writer = full_pipe()
    process = start("models", "--json", stdout=writer)
    assert interrupted(process, after=1.5) == (130, b"")
    os.close(reader)
    os.close(writer)


def test_where_interrupts_are_ignored_they_stay_so(start: Callable[..., subprocess.Popen[bytes]]) -> None:
    assert interrupted(start("--version", ignored=True)) == (0, b"")


def test_the_library_leaves_the_handlers_alone() -> None:
    code = (
        "import signal, sys\n"
        "before = signal.getsignal(signal.SIGINT)\n"
        "import planner, planner.cli, planner.entry\n"
        "planner.fit\n"
        "assert signal.getsignal(signal.SIGINT) is before\n"
        "assert sys.unraisablehook is sys.__unraisablehook__\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_the_script_is_ready_before_it_imports_anything() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    module, _, function = scripts["planner"].partition(":")
    assert callable(getattr(importlib.import_module(module), function))
    code = f"import sys; before = set(sys.modules); import {module}; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= LIGHT | {"planner", module}
