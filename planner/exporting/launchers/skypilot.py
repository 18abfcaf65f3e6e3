"""Writes a task of SkyPilot, which rents the machines."""

from __future__ import annotations

from collections.abc import Mapping

from planner.exporting.launch import REQUIREMENTS, SCRIPT, ExportError, Launch
from planner.exporting.launchers.launcher import PORT, Launcher, installs, job_name

TASK = "sky.yaml"
_ACCELERATORS = (
    ("A100-80GB", "A100-80GB"),
    ("A100-40GB", "A100"),
    ("H100", "H100"),
    ("H200", "H200"),
    ("B200", "B200"),
    ("GH200", "GH200"),
    ("A10G", "A10G"),
    ("A10", "A10"),
    ("L40S", "L40S"),
    ("L40", "L40"),
    ("L4", "L4"),
    ("T4", "T4"),
    ("V100-32GB", "V100-32GB"),
    ("V100", "V100"),
    ("P100", "P100"),
    ("RTX-4090", "RTX4090"),
    ("RTX-3090", "RTX3090"),
    ("RTX-5090", "RTX5090"),
    ("RTX-A6000", "RTXA6000"),
    ("RTX-6000-Ada", "RTX6000-Ada"),
    ("MI300X", "MI300X"),
)
"""SkyPilot's names of GPUs (`sky show-gpus --all`), by the beginnings of the catalog's; the first that fits counts."""


def files(launch: Launch, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the task: `sky launch sky.yaml`, in this folder."""
    request = launch.request
    name = next((sky for ours, sky in _ACCELERATORS if (request.gpu + "-").startswith(ours + "-")), None)
    if name is None:
        raise ExportError(f"SkyPilot has no name for {request.gpu}", "--to bash or slurm")
    setup = ("set -e", "[ -d .venv ] || python3 -m venv .venv", ". .venv/bin/activate", *installs(given[REQUIREMENTS]))
    run = (
        ". .venv/bin/activate",
        'MASTER_ADDR=$(echo "$SKYPILOT_NODE_IPS" | head -n 1)',
        f'export MASTER_ADDR MASTER_PORT={PORT} NODE_RANK="$SKYPILOT_NODE_RANK"',
        f"sh {SCRIPT}",
    )
    task = {
        "name": job_name(launch),
        "workdir": ".",
        "num_nodes": request.nodes,
        "resources": {"accelerators": f"{name}:{request.gpus}"},
        "setup": "".join(f"{line}\n" for line in setup),
        "run": "".join(f"{line}\n" for line in run),
    }
    return {TASK: launch.yaml(task)}


LAUNCHER = Launcher("skypilot", "sky.yaml, a task of SkyPilot", files)
