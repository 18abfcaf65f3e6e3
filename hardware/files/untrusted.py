"""Reads untrusted files as bytes, up to a limit, so that reading neither blocks nor fails to end."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path


class UnreadableError(Exception):
    """Reports a file that cannot be read; the message says why, and follows the file's name on a line."""


def read_file(path: str | Path, max_bytes: int, *, pipes: bool = True) -> bytes:
    """Returns the content of a regular file, or of a pipe such as a shell's `<(command)`.

    Devices are refused, and a pipe that nobody writes to counts as empty, so that reading always ends.

    Args:
        path: The file.
        max_bytes: Largest content that is accepted.
        pipes: Whether pipes are read, too.

    Raises:
        UnreadableError: The file cannot be read, is of another kind, or has more than `max_bytes` bytes.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until another process opens it for writing.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                raise UnreadableError("is a directory, not a file")
            if stat.S_ISFIFO(mode) and pipes and not _is_written_here(handle):
                os.set_blocking(handle, True)  # waits for the writers; without one, reading ends at once
            elif not stat.S_ISREG(mode):
                raise UnreadableError(f"is a {_kind(mode)}, not a file")
            return _limited(file.read(max_bytes + 1), max_bytes)
    except FileNotFoundError:
        raise UnreadableError("no such file") from None
    except IsADirectoryError:
        raise UnreadableError("is a directory, not a file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def read_standard_input(max_bytes: int) -> bytes:
    """Returns all of standard input.

    Raises:
        UnreadableError: It is closed, cannot be read, or has more than `max_bytes` bytes.
    """
    if sys.stdin is None:
        raise UnreadableError("is closed")
    try:
        with suppress(OSError, ValueError):  # an object that is no descriptor does not block
            os.set_blocking(sys.stdin.fileno(), True)
        return _limited(sys.stdin.buffer.read(max_bytes + 1), max_bytes)
    except (OSError, ValueError) as error:  # ValueError: closed in the meantime
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_written_here(handle: int) -> bool:
    """Returns whether a pipe is this process's own output: reading it would wait for an end that never comes."""
    for stream in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(stream), os.fstat(handle)):
                return True
    return False


def _limited(content: bytes | None, max_bytes: int) -> bytes:
    if content is None:  # a non-blocking stream without data
        raise UnreadableError("has nothing to read")
    if len(content) > max_bytes:
        raise UnreadableError(f"larger than {max_bytes} bytes")
    return content


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
