"""A plan to export, of the choices that a test asks for."""

from __future__ import annotations

from typing import Any

from planner import estimate
from planner.records.result import EstimateResult


def planned(**chosen: Any) -> EstimateResult:
    return estimate("llama-3.2-1b", **{"gpu": "A100-40GB", "framework": "trl", **chosen})
