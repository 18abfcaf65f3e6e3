"""Runs each case in a process of its own, forked from one that has imported the libraries and not touched the GPU.

If a case runs out of memory or crashes, only that case is lost, and no case waits for imports.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from gpu.case import Case, Outcome, Result

MOST_BYTES = 1 << 22
"""Bytes of the longest answer that is read."""

Measure = Callable[[Case], dict[str, Any]]


class NotHereError(Exception):
    """Reports that this machine does not have what a case needs."""


def run_forked(case: Case, measure: Measure, timeout_seconds: float) -> Result:
    """Measures a case in a child process, which is killed when the time is over."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os.setsid()  # so that the processes that it starts can be killed with it
        _answer(case, measure, writing)
    os.close(writing)
    try:
        answer, is_late = _read(reading, time.monotonic() + timeout_seconds)
    finally:
        os.close(reading)
        with suppress(ProcessLookupError):  # the child may have ended already
            os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if is_late:
        return Result(Outcome.TOO_LONG, {"reason": f"no answer within {timeout_seconds:.0f} s"})
    try:
        outcome, found = json.loads(answer)
    except json.JSONDecodeError:
        return Result(Outcome.DIED, {"reason": _said(status)})
    return Result(Outcome(outcome), found)


def _answer(case: Case, measure: Measure, writing: int) -> None:
    """Runs the child process: measures the case, writes the answer to the pipe and exits; it never returns."""
    try:
        outcome, found = _measured(case, measure)
        with os.fdopen(writing, "w") as pipe:
            json.dump([outcome, found], pipe)
    finally:
        os._exit(0)  # exit handlers that the parent registered must not run here


def _measured(case: Case, measure: Measure) -> tuple[Outcome, dict[str, Any]]:
    import torch

    try:
        return Outcome.MEASURED, measure(case)
    except NotHereError as error:
        return Outcome.SKIPPED, {"reason": str(error)}
    except torch.OutOfMemoryError as error:
        return Outcome.OUT_OF_MEMORY, {"reason": str(error).partition("\n")[0][:300]}
    except BaseException as error:  # libraries may raise anything, which is then the outcome of the case
        return Outcome.FAILED, {"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"}


def _read(reading: int, deadline: float) -> tuple[bytes, bool]:
    """Returns what is read until the pipe is closed, and whether the time was over before that."""
    parts: list[bytes] = []
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        part = os.read(reading, 1 << 16)
        if not part or sum(map(len, parts)) > MOST_BYTES:
            return b"".join(parts), False
        parts.append(part)
    return b"", True


def _said(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with {os.WEXITSTATUS(status)} and no answer"
