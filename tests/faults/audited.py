"""Runs the command line and tells what it did beyond reading: `python audited.py ARGUMENTS...`.

The last line of standard error is a JSON list of the modules that were imported from the working directory, of
connections, processes and files written outside of PLANNER_CACHE.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

HERE = os.getcwd()
CACHE = os.path.realpath(os.environ["PLANNER_CACHE"])
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CONNECTIONS = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")
PROCESSES = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork")
CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.chmod", "os.truncate")

done: list[str] = []


def note(event: str, details: tuple[Any, ...]) -> None:
    if event in CONNECTIONS or event in PROCESSES:
        done.append(f"{event} {details}")
    elif event in CHANGES and not _is_cached(details[0]):
        done.append(f"{event} {details[0]}")
    elif event == "open" and isinstance(details[2], int) and details[2] & WRITES and not _is_cached(details[0]):
        done.append(f"written {details[0]}")
    elif event == "exec" and getattr(details[0], "co_filename", "").startswith(HERE + os.sep):
        done.append(f"ran {details[0].co_filename}")


def _is_cached(path: object) -> bool:
    if isinstance(path, int) or path == os.devnull:
        return True
    return os.path.realpath(os.fsdecode(path)).startswith(CACHE + os.sep) or os.path.realpath(path) == CACHE


if __name__ == "__main__":
    from planner.cli import main  # what it imports is not the file's doing

    sys.path.insert(0, HERE)  # as `python -m planner` has it
    sys.addaudithook(note)
    try:
        main(sys.argv[1:])
    finally:
        print("", json.dumps(done), sep="\n", file=sys.stderr)
