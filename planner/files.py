"""Files that hold a result: checked before the work that they wait for, and never there by half."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from hardware import PlannerError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DIRECTORY = "a directory"
_KINDS = {
    stat.S_IFDIR: _DIRECTORY,
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
_OWN_STREAMS = {1: "standard output", 2: "standard error"}


class OutputFileError(PlannerError):
    """A file that cannot be written."""


def check_writable(path: Path) -> None:
    """Raises OutputFileError where `write_whole` could not write."""
    target = _target(path)
    try:
        if not target.parent.is_dir():
            raise OutputFileError(f"{path} has no directory to be in", f"mkdir -p {target.parent}")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputFileError(f"{path} cannot be written: it is read-only", "name another file")
    except OSError as error:
        raise _refused(path, error) from None
    _through_temporary(path, target, lambda temporary: None)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside the target and renames it: the target is the old file or the new one, at any time.

    Raises:
        OutputFileError: it cannot be written.
    """
    target = _target(path)

    def rename(temporary: Path) -> None:
        if target.exists():  # before there is something to read in it
            shutil.copymode(target, temporary)
        temporary.write_bytes(content)
        temporary.replace(target)

    _through_temporary(path, target, rename)


def way_out(error: OSError, otherwise: str) -> str:
    """The hint of an error of writing."""
    return "free some space, or write to another disk" if error.errno in _FULL else otherwise


def _target(path: Path) -> Path:
    """What a link points to is written, not the link.

    Raises OutputFileError for what no file can take the place of.
    """
    try:
        target = Path(os.path.realpath(path))
    except OSError as error:  # the working directory is gone
        raise _refused(path, error) from None
    except ValueError as error:
        raise OutputFileError(f"{str(path)!r} cannot be written: {error}", "name another file") from None
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return target
    except OSError as error:
        raise _refused(path, error) from None
    except ValueError as error:
        raise OutputFileError(f"{str(path)!r} cannot be written: {error}", "name another file") from None
    if not stat.S_ISREG(found.st_mode):
        kind = _KINDS.get(stat.S_IFMT(found.st_mode), "no regular file")
        raise OutputFileError(f"{path} is {kind}", f"name a file{' in it' if kind == _DIRECTORY else ''}")
    for number, stream in _OWN_STREAMS.items():  # such as /dev/stdout, where it goes to a file
        if _is_open_as(number, found):
            raise OutputFileError(f"{path} is where {stream} goes", "name another file")
    return target


def _is_open_as(number: int, found: os.stat_result) -> bool:
    try:
        return os.path.samestat(os.fstat(number), found)
    except OSError:
        return False


def _through_temporary(path: Path, target: Path, use: Callable[[Path], None]) -> None:
    # A name that nobody else has: what a process that was killed has left is in nobody's way.
    temporary = target.with_name(f".planner-{os.urandom(8).hex()}")
    try:
        try:
            temporary.touch(exist_ok=False)
            use(temporary)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> OutputFileError:
    hint = way_out(error, "name a file in a directory of yours")
    return OutputFileError(f"{path} cannot be written: {error.strerror}", hint)
