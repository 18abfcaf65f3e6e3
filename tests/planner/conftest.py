"""One small replay that several tests look at."""

from __future__ import annotations

from typing import Any

import pytest

from planner.problem.resolve import resolve_one
from planner.verification.replayed import Verified, verify_candidate

PYTHIA: dict[str, Any] = {"precision": "fp16-mixed"}


def replayed(headroom: float = 0.05, num_steps: int = 2) -> Verified:
    workload = {"gpus": 1, "nodes": 1, "sequence_length": 128, "headroom": headroom}
    return verify_candidate(*resolve_one("pythia-70m", "T4", None, PYTHIA, workload, 1, num_steps), lambda _: None)


@pytest.fixture(scope="session")
def verified() -> Verified:
    """Two micro-batches of pythia-70m on a T4, where they fit."""
    return replayed()
