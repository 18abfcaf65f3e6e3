"""Names the studies that an engine keeps in a storage, and says what they are about."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from hardware import GIB
from planner.problem.problem import Problem
from planner.search import EngineSettings
from strategies import Engine, Space


def study_name(problem: Problem, settings: EngineSettings) -> str:
    """Returns a name of the study in a storage that is the same for the same request, sampler and seed."""
    if settings.storage is None:
        return ""
    request = problem.request
    how = settings.sampler if settings.engine is Engine.OPTUNA else settings.engine
    digest = sha256(f"{request.model_dump_json()} {how} {settings.seed}".encode()).hexdigest()[:8]
    return f"{request.model} on {problem.cluster.world_size} x {request.gpu}, {how}, {digest}"


def about(problem: Problem, space: Space, settings: EngineSettings) -> dict[str, Any]:
    """Returns what a study is about, as its attributes in a storage: what a reader of a dashboard asks first.

    Args:
        problem: The resolved request.
        space: The space that is searched.
        settings: Engine, sampler and seed.
    """
    if settings.storage is None:
        return {}
    request = problem.request
    batch = {
        "global batch": request.global_batch_size,
        "most accumulation steps": request.max_accumulation,
        "micro-batches": list(request.micro_batch_size) or None,
    }
    return {
        "model": request.model,
        "parameters": request.num_parameters,
        "task": str(request.task) if request.task is not None else None,
        "machine": request.where,
        "GPU GiB": round(request.gpu_memory_bytes / GIB, 2),
        "budget GiB": round(problem.budget_bytes / GIB, 2),
        "tokens per sequence": request.sequence_length,
        **{name: value for name, value in batch.items() if value is not None},
        "space": _varied(problem, space),
        "engine": str(settings.engine),
        **({"sampler": str(settings.sampler), "seed": settings.seed} if settings.engine is Engine.OPTUNA else {}),
    }


def _varied(problem: Problem, space: Space) -> dict[str, str]:
    """Returns the options with more than one value, and those that the request names."""
    return {
        option: ", ".join(",".join(value) if isinstance(value, tuple) else str(value) for value in values)
        for option, values in space._asdict().items()
        if len(values) > 1 or getattr(problem.request, option)
    }
