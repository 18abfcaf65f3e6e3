"""Writes files of results: they are checked before the work that fills them, and are never left incomplete."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Mapping
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
    """Reports a file that cannot be written."""


def check_writable(path: Path) -> None:
    """Checks that `write_whole` could write a file now, without changing it.

    Raises:
        OutputFileError: It could not.
    """
    target = _target(path)
    try:
        if not target.parent.is_dir():
            raise OutputFileError(f"{path} has no directory to be in", f"mkdir -p {target.parent}")
        if target.exists() and not os.access(target, os.W_OK):
            raise OutputFileError(f"{path} cannot be written: it is read-only", "name another file")
    except OSError as error:
        raise _refused(path, error) from None
    _through_temporary(path, target, lambda temporary: None)


def write_all(files: Mapping[Path, str], *, force: bool = False) -> None:
    """Writes several files, each atomically, and none if one of them cannot be written.

    Args:
        files: Their texts by their paths.
        force: Whether files that are there are replaced.

    Raises:
        OutputFileError: One of them is there and `force` is not set, or cannot be written.
    """
    there = [str(path) for path in files if os.path.lexists(path)]
    if there and not force:
        raise OutputFileError(f"{', '.join(there)} would be overwritten", "--force, or another path")
    for path in files:
        check_writable(path)
    for path, text in files.items():
        write_whole(path, text.encode())


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: at any time, the path holds the old content or all of the new one.

    The content is written to a temporary file in the same directory, which is then renamed.

    Raises:
        OutputFileError: The file cannot be written.
    """
    target = _target(path)

    def rename(temporary: Path) -> None:
        if target.exists():  # permissions are copied before the content, so that nobody else can read it
            shutil.copymode(target, temporary)
        temporary.write_bytes(content)
        temporary.replace(target)

    _through_temporary(path, target, rename)


def way_out(error: OSError, otherwise: str) -> str:
    """Returns the hint for an error of writing: about a full disk, or `otherwise`."""
    return "free some space, or write to another disk" if error.errno in _FULL else otherwise


def _target(path: Path) -> Path:
    """Returns the file to write for a path: if the path is a symbolic link, the file that it points to.

    Raises:
        OutputFileError: The path is that of a directory, a device or the like, or of this process's own output.
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
    for number, stream in _OWN_STREAMS.items():  # such as /dev/stdout, if it is redirected to a file
        if _is_open_as(number, found):
            raise OutputFileError(f"{path} is where {stream} goes", "name another file")
    return target


def _is_open_as(number: int, found: os.stat_result) -> bool:
    """Returns whether a descriptor of this process is open for that file."""
    try:
        return os.path.samestat(os.fstat(number), found)
    except OSError:
        return False


def _through_temporary(path: Path, target: Path, use: Callable[[Path], None]) -> None:
    """Calls `use` with an empty temporary file next to the target, which is removed afterwards if it is still there.

    Raises:
        OutputFileError: The file cannot be created or used; the error names `path`.
    """
    # The name is random, so that a file that a killed process left is in nobody's way.
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
