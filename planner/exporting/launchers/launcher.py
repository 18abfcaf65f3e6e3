"""Defines a launcher: it adds a file to those of a framework, and starts their script on every node."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from planner.exporting.launch import REQUIREMENTS, Launch

PORT = 29500
"""Port at which ranks of several nodes meet: the default of torchrun and accelerate."""


class Launcher(NamedTuple):
    """Describes a launcher.

    Attributes:
        name: Its name on the command line.
        summary: What it writes.
        files: Returns its files by their names, given the launch and the framework's files.
    """

    name: str
    summary: str
    files: Callable[[Launch, Mapping[str, str]], dict[str, str]]


def installs(requirements: str) -> tuple[str, ...]:
    """Returns the commands that install what requirements.txt says.

    flash-attn is built with the torch that is there, and says so nowhere (its README, "Installation and features").
    """
    every = f"pip install --quiet --requirement {REQUIREMENTS}"
    if "flash-attn" not in requirements:
        return (every,)
    first = f"grep -v flash-attn {REQUIREMENTS} | pip install --quiet --requirement /dev/stdin ninja packaging wheel"
    return (first, f"{every} --no-build-isolation")


def job_name(launch: Launch) -> str:
    """Returns a name that Slurm, Kubernetes and SkyPilot take: small letters, digits and dashes, at most 40."""
    plain = re.sub("[^a-z0-9]+", "-", launch.request.model.lower().rpartition("/")[2])
    return f"train-{plain.strip('-')}"[:40].rstrip("-")
