"""Writes a script that makes an environment of its own, installs what is required, and trains."""

from __future__ import annotations

from collections.abc import Mapping

from planner.exporting.launch import REQUIREMENTS, SCRIPT, ExportError, Launch
from planner.exporting.launchers.launcher import Launcher, installs

START = "start.sh"


def files(launch: Launch, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the script."""
    if launch.request.nodes > 1:
        nodes = launch.request.nodes
        raise ExportError(f"bash starts one node, and the plan has {nodes}", "--to slurm, kubernetes or skypilot")
    lines = (
        "set -euo pipefail",
        'cd "$(dirname "$0")"',
        "[ -d .venv ] || python3 -m venv .venv",
        ". .venv/bin/activate",
        *installs(given[REQUIREMENTS]),
        f'exec sh {SCRIPT} "$@"',
    )
    return {START: f"#!/bin/bash\n{launch.comment()}\n" + "".join(f"{line}\n" for line in lines)}


LAUNCHER = Launcher("bash", "start.sh, which installs what is required and trains", files)
