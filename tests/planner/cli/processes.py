"""Runs the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
FIT = ("fit", "tinyllama-1.1b", "--gpu", "A100-40GB")


def run(
    *arguments: str,
    stdout: Any = subprocess.PIPE,
    stderr: Any = subprocess.PIPE,
    encoding: str = "utf-8",
    preexec_fn: Callable[[], object] | None = None,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "planner", *arguments],
        stdout=stdout,
        stderr=stderr,
        encoding=encoding,
        preexec_fn=preexec_fn,
        env={**os.environ, **variables},
        cwd=ROOT,
        check=False,
    )
