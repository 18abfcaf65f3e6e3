"""Writes a Kubeflow TrainJob, and a ConfigMap with the framework's files: Kubeflow Trainer 2.3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from planner.exporting.launch import REQUIREMENTS, SCRIPT, Blocks, ExportError, Launch
from planner.exporting.launchers.launcher import PORT, Launcher, installs, job_name

JOB = "trainjob.yaml"
_MOUNTED, _WORK = "/plan", "/tmp/run"
_MOST_BYTES = 1 << 20
"""What a ConfigMap holds: kubernetes.io, "ConfigMaps"."""
_RESOURCES = {"nvidia": "nvidia.com/gpu", "amd": "amd.com/gpu", "intel": "habana.ai/gaudi"}
"""Names that the vendors' device plug-ins give to GPUs."""


def files(launch: Launch, given: Mapping[str, str]) -> dict[str, str]:
    """Returns both as one file: `kubectl apply -f trainjob.yaml`.

    The runtime `torch-distributed` tells each node its number and where they meet, in PET_ variables (Kubeflow Trainer,
    pkg/runtime/framework/plugins/torch).
    """
    if sum(map(len, given.values())) > _MOST_BYTES:
        raise ExportError("the files are more than a ConfigMap holds, 1 MiB", "--to skypilot, or an image of yours")
    name, request, gpus = job_name(launch), launch.request, _RESOURCES[launch.vendor]
    command = "\n".join(
        (
            "set -eu",
            f"cp -rL {_MOUNTED} {_WORK} && cd {_WORK}",
            *installs(given[REQUIREMENTS]),
            'export NODE_RANK="${PET_NODE_RANK:-0}" MASTER_ADDR="${PET_MASTER_ADDR:-localhost}"',
            f'export MASTER_PORT="${{PET_MASTER_PORT:-{PORT}}}"',
            f"exec sh {SCRIPT}",
        )
    )
    settings = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(given)}
    job: dict[str, Any] = {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": name},
        "spec": {
            "runtimeRef": {"name": "torch-distributed"},
            "trainer": {
                "numNodes": request.nodes,
                "resourcesPerNode": {"limits": {gpus: request.gpus}, "requests": {gpus: request.gpus}},
                "command": ["sh", "-c", command],
            },
            "runtimePatches": [_pod(name, gpus)],
        },
    }
    return {JOB: f"{launch.comment()}\n{yaml.dump_all([settings, job], Dumper=Blocks, sort_keys=False)}"}


def _pod(name: str, gpus: str) -> dict[str, Any]:
    """Returns the patch of the pods: files, memory through which NCCL's processes of a node talk, GPUs' own nodes."""
    volumes = [
        {"name": "plan", "configMap": {"name": name}},
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
    ]
    mounts = [{"name": "plan", "mountPath": _MOUNTED}, {"name": "shm", "mountPath": "/dev/shm"}]
    pod = {
        "volumes": volumes,
        "containers": [{"name": "node", "volumeMounts": mounts}],
        # Nodes with GPUs often have this taint, so that nothing else runs on them (kubernetes.io, "Dedicated Nodes").
        "tolerations": [{"key": gpus, "operator": "Exists", "effect": "NoSchedule"}],
    }
    jobs = [{"name": "node", "template": {"spec": {"template": {"spec": pod}}}}]
    return {
        "manager": "planner.dev/export",
        "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": jobs}}},
    }


LAUNCHER = Launcher("kubernetes", "trainjob.yaml, a Kubeflow TrainJob with the files in a ConfigMap", files)
