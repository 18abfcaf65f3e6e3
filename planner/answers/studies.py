"""Names the studies that an engine keeps in a storage."""

from __future__ import annotations

from hashlib import sha256

from planner.problem.problem import Problem
from planner.search import EngineSettings
from strategies import Engine


def study_name(problem: Problem, settings: EngineSettings) -> str:
    """Returns a name of the study in a storage that is the same for the same request, sampler and seed."""
    if settings.storage is None:
        return ""
    request = problem.request
    how = settings.sampler if settings.engine is Engine.OPTUNA else settings.engine
    digest = sha256(f"{request.model_dump_json()} {how} {settings.seed}".encode()).hexdigest()[:8]
    return f"{request.model} on {problem.cluster.world_size} x {request.gpu}, {how}, {digest}"
