"""How real processes end, and what becomes of output that has no place."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from processes import FIT, ROOT, run


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


@pytest.mark.parametrize(
    "arguments",
    [
        FIT,
        (*FIT, "--json"),
        ("gpus", "--json"),
        ("gpus",),
        ("schema", "fit"),
        ("--version",),
        ("--help",),
        ("fit", "-h"),
    ],
)
@pytest.mark.parametrize("buffered", ["", "1"])
def test_output_that_cannot_be_written_is_said(arguments: tuple[str, ...], buffered: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full, PYTHONUNBUFFERED=buffered)
    assert done.returncode == 2
    assert done.stderr == (
        "error: standard output cannot be written: No space left on device\n"
        "hint: free some space, or write to another disk\n"
    )


def test_output_that_is_no_place_to_write_to_is_said() -> None:
    with open("/dev/null") as readable:
        done = run("gpus", stdout=readable)
    assert done.returncode == 2
    assert done.stderr == (
        "error: standard output cannot be written: Bad file descriptor\n"
        "hint: send it to a file of yours, or to a pipe\n"
    )


@pytest.mark.parametrize("arguments", [("xyz",), ()])
def test_errors_that_cannot_be_written_leave_the_exit_code(arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        assert run(*arguments, stderr=full).returncode == 2


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (1, 2), (0, 1, 2)])
def test_standard_streams_may_be_closed(closed: tuple[int, ...]) -> None:
    for arguments, exit_code in ((("gpus",), 0), ((*FIT, "--json"), 0), (("verify", "-"), 2), (("xyz",), 2)):
        done = run(*arguments, preexec_fn=lambda: [os.close(number) for number in closed])
        assert done.returncode == exit_code
        assert bool(done.stdout) == (exit_code == 0 and 1 not in closed)
        assert done.stderr.startswith("error: " if exit_code and 2 not in closed else "")
        assert "Traceback" not in done.stderr
        assert "internal error" not in done.stderr


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    full = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            full += os.write(writer, bytes(4096))
    process = subprocess.Popen([sys.executable, "-m", "planner", "gpus", "--json"], stdout=writer, cwd=ROOT)
    os.close(writer)
    time.sleep(1.5)  # until it has something to write
    with open(reader, "rb") as pipe:
        assert pipe.read(full) == bytes(full)
        assert json.load(pipe)["gpus"]
    assert process.wait() == 0


@pytest.mark.parametrize("arguments", [("gpus", "show", "T4"), ("fit", "--help")])
def test_a_terminal_that_does_not_know_its_width_gets_a_report_of_80_columns(arguments: tuple[str, ...]) -> None:
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
    process = subprocess.Popen([sys.executable, "-m", "planner", *arguments], cwd=ROOT, **streams)
    os.close(terminal)
    shown = b""
    try:
        while some := os.read(main, 65536):
            shown += some
    except OSError:  # how Linux says that nobody is at the other end any more
        pass
    os.close(main)
    assert process.wait() == 0
    lines = re.sub(rb"\x1b\[[0-9;]*m", b"", shown).decode().splitlines()
    assert 70 < max(map(len, lines)) <= 80


def test_what_an_encoding_does_not_have_is_spelled_out(tmp_path: Path) -> None:
    file = tmp_path / "€é.json"
    file.write_text(json.dumps(json.loads(run("models", "show", "gpt2", "--json").stdout)["config"]))
    for encoding in ("latin-1", "cp437", "ascii", "utf-8"):
        done = run("models", "show", str(file), "--json", PYTHONIOENCODING=encoding, encoding=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["name"].endswith("€é.json")
        done = run("models", "show", str(file), PYTHONIOENCODING=encoding, encoding=encoding)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\\u20ac" in done.stdout or encoding == "utf-8"


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
