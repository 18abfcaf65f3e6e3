"""Writes a batch script of Slurm: one task a node, which starts a process for each GPU."""

from __future__ import annotations

from collections.abc import Mapping

from planner.exporting.launch import SCRIPT, Launch
from planner.exporting.launchers.launcher import PORT, Launcher, job_name

JOB = "job.sbatch"


def files(launch: Launch, given: Mapping[str, str]) -> dict[str, str]:
    """Returns the batch script; partition, account and time limit are the cluster's, and are left to `sbatch`."""
    request = launch.request
    options = {
        "job-name": job_name(launch),
        "nodes": request.nodes,
        "ntasks-per-node": 1,
        "gpus-per-node": request.gpus,
        "output": "%x-%j.log",
    }
    lines = (
        "#!/bin/bash",
        *launch.comment().splitlines(),
        "# sbatch --partition P --account A --time T job.sbatch, in this folder; python has what requirements.txt says",
        *(f"#SBATCH --{name}={value}" for name, value in options.items()),
        "",
        "set -euo pipefail",
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        f"export MASTER_ADDR MASTER_PORT={PORT}",
        f'srun --kill-on-bad-exit=1 sh {SCRIPT} "$@"',
    )
    return {JOB: "".join(f"{line}\n" for line in lines)}


LAUNCHER = Launcher("slurm", "job.sbatch, a batch script", files)
