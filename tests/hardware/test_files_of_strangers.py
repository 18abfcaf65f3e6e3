"""Files of strangers are read up to a limit, pipes with them, and nothing that blocks or never ends."""

from __future__ import annotations

import io
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from hardware.files.untrusted import UnreadableError, read_file, read_standard_input


def refused(path: str | Path, **options: Any) -> str:
    with pytest.raises(UnreadableError) as caught:
        read_file(path, 10, **options)
    return str(caught.value)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"x" * 9, b"x" * 10):
        path.write_bytes(content)
        assert read_file(path, 10) == read_file(str(path), 10) == content
    path.write_bytes(b"x" * 11)
    assert refused(path) == "larger than 10 bytes"


def test_what_is_no_file_says_what_it_is(tmp_path: Path) -> None:
    assert refused(tmp_path / "missing") == "no such file"
    assert refused(tmp_path) == "is a directory, not a file"
    assert refused("/dev/zero") == "is a device, not a file"
    assert refused("null\0byte") == "cannot be read: embedded null byte"
    assert refused("x" * 5_000) == "cannot be read: File name too long"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        assert refused(tmp_path / "socket") == "cannot be read: No such device or address"


def test_a_pipe_is_read_to_its_end_and_without_a_writer_it_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert read_file(path, 10) == b""
    assert refused(path, pipes=False) == "is a pipe, not a file"
    reading, writing = os.pipe()
    writer = threading.Thread(target=lambda: (os.write(writing, b"12345"), os.close(writing)))
    writer.start()
    assert read_file(f"/dev/fd/{reading}", 10) == b"12345"
    writer.join()
    os.close(reading)


def test_the_processs_own_output_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "output"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writing = os.open(path, os.O_WRONLY)
    for stream in (1, 2):
        kept = os.dup(stream)
        os.dup2(writing, stream)
        try:
            message = refused(path)
        finally:
            os.dup2(kept, stream)
            os.close(kept)
        assert message == "is a pipe, not a file"
    os.close(writing)
    os.close(reading)


class Input:
    """Stands in for standard input."""

    def __init__(self, content: bytes | None, error: Exception | None = None) -> None:
        self.content, self.error, self.buffer = content, error, self

    def fileno(self) -> int:
        raise io.UnsupportedOperation

    def read(self, size: int) -> bytes | None:
        if self.error is not None:
            raise self.error
        return self.content if self.content is None else self.content[:size]


@pytest.mark.parametrize("content", [b"", b"0123456789"])
def test_standard_input_is_read_up_to_its_limit(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Input(content))
    assert read_standard_input(10) == content


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (None, "is closed"),
        (Input(b"x" * 11), "larger than 10 bytes"),
        (Input(None), "has nothing to read"),
        (Input(b"", ValueError("I/O operation on closed file")), "cannot be read: I/O operation on closed file"),
        (Input(b"", OSError(5, "Input/output error")), "cannot be read: Input/output error"),
    ],
)
def test_standard_input_that_cannot_be_read_says_why(
    stream: Input | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", stream)
    with pytest.raises(UnreadableError) as caught:
        read_standard_input(10)
    assert str(caught.value) == message
