"""Files of strangers as bytes: no more than a limit, and nothing that blocks or never ends."""

from __future__ import annotations

import os
import stat
import sys
from contextlib import suppress
from pathlib import Path


class UnreadableError(Exception):
    """A file that cannot be read; the message says why, as the end of a line that names the file."""


def read_file(path: str | Path, max_bytes: int, *, pipes: bool = True) -> bytes:
    """The content of a regular file, or of a pipe such as a shell's `<(command)`.

    A device is refused, and a pipe that nobody writes to is empty, so that reading always ends.

    Raises UnreadableError, also for more than `max_bytes` bytes.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits for somebody who writes to it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
        with os.fdopen(handle, "rb") as file:
            mode = os.fstat(handle).st_mode
            if stat.S_ISDIR(mode):
                raise UnreadableError("is a directory, not a file")
            if stat.S_ISFIFO(mode) and pipes and not _is_written_here(handle):
                os.set_blocking(handle, True)  # for who writes; without anybody, reading ends at once
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
    """All of standard input.

    Raises UnreadableError if it is closed, or for more than `max_bytes` bytes.
    """
    if sys.stdin is None:
        raise UnreadableError("is closed")
    try:
        with suppress(OSError, ValueError):  # what is no descriptor does not block
            os.set_blocking(sys.stdin.fileno(), True)
        return _limited(sys.stdin.buffer.read(max_bytes + 1), max_bytes)
    except (OSError, ValueError) as error:  # ValueError: closed since
        raise UnreadableError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _is_written_here(handle: int) -> bool:
    """Whether a pipe is the process's own output, whose end would be waited for without end."""
    for stream in (1, 2):
        with suppress(OSError):
            if os.path.samestat(os.fstat(stream), os.fstat(handle)):
                return True
    return False


def _limited(content: bytes | None, max_bytes: int) -> bytes:
    if content is None:  # of what is not ready and does not wait
        raise UnreadableError("has nothing to read")
    if len(content) > max_bytes:
        raise UnreadableError(f"larger than {max_bytes} bytes")
    return content


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "pipe"
    return "socket" if stat.S_ISSOCK(mode) else "device"
