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
        "# sbatch --partition P --account A --time T --cpus-per-task C job.sbatch, in this folder; a task is a node",
        "# with all its GPUs, and has one CPU unless C says more; python has what requirements.txt says",
        *(f"#SBATCH --{name}={value}" for name, value in options.items()),
        "",
        "set -euo pipefail",
        'MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)',
        "# Jobs that share a node each have a port of their own.",
        f"export MASTER_ADDR MASTER_PORT=$(({PORT} + SLURM_JOB_ID % 1000))",
        "# srun does not take this from sbatch since Slurm 22.05.",
        'export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"',
        f'srun --kill-on-bad-exit=1 sh {SCRIPT} "$@"',
    )
    return {JOB: "".join(f"{line}\n" for line in lines)}


LAUNCHER = Launcher("slurm", "job.sbatch, a batch script", files)
