"""Finds the training configurations that fit a GPU and give the largest effective batch.

A name is imported when it is first used, so that `planner --help` starts without pydantic.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing takes milliseconds, in which an interrupt finds no handler yet
if TYPE_CHECKING:
    from hardware import GPU, Catalog, CatalogError, Cluster, PlannerError, UnknownNameError, load_catalog
    from planner.answers.explain import explain
    from planner.api import estimate, fit
    from planner.extras import MissingExtraError
    from planner.files import OutputFileError
    from planner.models import Model, find_model
    from planner.models.sources import ModelConfigError
    from planner.records.axes import RequestError
    from planner.records.explanation import Explanation
    from planner.records.plan import Memory, Plan
    from planner.records.plan_file import PlanFileError
    from planner.records.request import Request
    from planner.records.result import EstimateResult, FitResult
    from planner.records.space import SearchSpace, SpaceFileError
    from planner.records.verification import Verification
    from planner.verification.verify import verify
    from strategies import ContradictionError, InvalidChoiceError

__all__ = [
    "GPU",
    "Catalog",
    "CatalogError",
    "Cluster",
    "ContradictionError",
    "EstimateResult",
    "Explanation",
    "FitResult",
    "InvalidChoiceError",
    "Memory",
    "MissingExtraError",
    "Model",
    "ModelConfigError",
    "OutputFileError",
    "Plan",
    "PlanFileError",
    "PlannerError",
    "Request",
    "RequestError",
    "SearchSpace",
    "SpaceFileError",
    "UnknownNameError",
    "Verification",
    "estimate",
    "explain",
    "find_model",
    "fit",
    "load_catalog",
    "verify",
]

_HOMES = (
    "hardware",
    "strategies",
    "planner.records.plan",
    "planner.records.axes",
    "planner.records.space",
    "planner.records.request",
    "planner.records.verification",
    "planner.records.result",
    "planner.models",
    "planner.models.sources",
    "planner.problem.problem",
    "planner.api",
    "planner.answers.explain",
    "planner.records.explanation",
    "planner.records.plan_file",
    "planner.files",
    "planner.verification.replayed",
    "planner.extras",
    "planner.verification.verify",
)
"""Modules that define the public names, in the order in which a name is looked for."""


def __getattr__(name: str) -> object:
    if name in __all__:
        from planner.neighbours import stranger

        if in_the_way := stranger():
            raise ImportError(in_the_way)
        for home in _HOMES:
            module = import_module(home)
            if name in getattr(module, "__all__", vars(module)):
                return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
