"""Names the functions that measure each kind of case, and describes the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpu.case import Case, Kind
from gpu.forked import Measure

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "torchao", "bitsandbytes", "flash-attn", "liger-kernel")
IMPORTED = (
    "torch",
    "transformers",
    "peft",
    "accelerate.utils",
    "planner.replay",
    "transformers.models.auto.modeling_auto",
)


def import_libraries() -> None:
    """Imports the libraries that every case needs once, so that child processes inherit them.

    The imports must not touch the GPU, or no child process could use it. Libraries that ask whether there is a GPU are
    therefore answered by NVML (torch/cuda/__init__.py, `is_available`).
    """
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"
    os.environ["HF_HUB_OFFLINE"] = "1"
    for name in IMPORTED:
        import_module(name)


def measures_on(device: str) -> Mapping[Kind, Measure]:
    from gpu.edges import edges_on
    from gpu.rates import rates_on
    from gpu.training import memory_on, time_on

    return {
        Kind.RATES: rates_on(device),
        Kind.MEMORY: memory_on(device),
        Kind.EDGES: edges_on(device),
        Kind.STEPS: time_on(device),
    }


def machine(case: Case) -> dict[str, Any]:
    """Returns the versions of libraries, and the GPU with its driver.

    It touches the GPU, so it has to run in a process of its own.
    """
    found: dict[str, Any] = {
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
    }
    if case.request["device"] == "cuda":
        import torch

        found |= {
            "gpu": torch.cuda.get_device_name(0),
            "total_memory": torch.cuda.get_device_properties(0).total_memory,
            "cuda": torch.version.cuda,
            "driver": _driver(),
        }
    return found


def _driver() -> str | None:
    """Returns the driver's version, clock and power limit, or None if nvidia-smi is not installed."""
    asked = ["nvidia-smi", "--query-gpu=driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
