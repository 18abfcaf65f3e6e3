"""Defines a launcher: it adds a file to those of a framework, and starts their script on every node."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from planner.exporting.launch import Launch

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


def job_name(launch: Launch) -> str:
    """Returns a name that Slurm, Kubernetes and SkyPilot take: small letters, digits and dashes, at most 40."""
    plain = re.sub("[^a-z0-9]+", "-", launch.request.model.lower().rpartition("/")[2])
    return f"train-{plain.strip('-')}"[:40].rstrip("-")
