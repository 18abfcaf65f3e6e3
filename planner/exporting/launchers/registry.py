"""Lists the launchers."""

from __future__ import annotations

from collections.abc import Mapping

from planner.exporting.launchers import bash, kubernetes, skypilot, slurm
from planner.exporting.launchers.launcher import Launcher

_ALL = (
    bash.LAUNCHER,
    slurm.LAUNCHER,
    kubernetes.LAUNCHER,
    skypilot.LAUNCHER,
)
LAUNCHERS: Mapping[str, Launcher] = {launcher.name: launcher for launcher in _ALL}
