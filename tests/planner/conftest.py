"""One small replay that several tests look at."""

from __future__ import annotations

from typing import Any

import pytest

from planner.problem.problem import single
from planner.verification.certify import Certified, certify

PYTHIA: dict[str, Any] = {"precision": "fp16-mixed"}


def replayed(headroom: float = 0.05, num_steps: int = 2) -> Certified:
    workload = {"gpus": 1, "nodes": 1, "sequence_length": 128, "headroom": headroom}
    return certify(*single("pythia-70m", "T4", None, PYTHIA, workload, 1, num_steps), lambda _: None)


@pytest.fixture(scope="session")
def certified() -> Certified:
    """Two micro-batches of pythia-70m on a T4, where they fit."""
    return replayed()
