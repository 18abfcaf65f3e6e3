"""Finds the training configurations that fit a GPU and give the largest effective batch.

A name is imported when it is first used, so that `planner --help` starts without pydantic.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # importing typing takes milliseconds, in which an interrupt finds no handler yet
if TYPE_CHECKING:
    from hardware import GPU, Catalog, CatalogError, Cluster, Machine, PlannerError, UnknownNameError, load_catalog
    from planner.api import compare, fit_machines, sweep
    from planner.api.estimation import estimate
    from planner.api.explain import explain
    from planner.api.fit import fit
    from planner.checking.check import check
    from planner.checking.fix import fix
    from planner.exporting.export import export
    from planner.exporting.launch import ExportError
    from planner.exporting.measured import MeasuredFileError, measured
    from planner.extras import MissingExtraError
    from planner.files import OutputFileError
    from planner.models import Model, find_model
    from planner.models.sources.document import ModelConfigError
    from planner.pages.report import report_page
    from planner.records.asked.axes import RequestError
    from planner.records.asked.request import Request
    from planner.records.asked.space import SearchSpace
    from planner.records.asked.space_file import SpaceFileError
    from planner.records.check import Change, CheckResult
    from planner.records.comparison import Compared, Comparison
    from planner.records.explanation import Explanation
    from planner.records.machines import MachinePlan, MachineRanking
    from planner.records.measurement import MeasuredRun, Measurement
    from planner.records.plan import Memory, Plan
    from planner.records.plan_file import PlanFileError
    from planner.records.result import EstimateResult, FitResult
    from planner.records.sweep import SweepResult, SweepRow
    from planner.records.verification import Verification
    from planner.sweeps.tables import SweepFileError
    from planner.verification.verify import verify
    from strategies import ContradictionError, InvalidChoiceError

_HOMES = {
    "GPU": "hardware",
    "Catalog": "hardware",
    "CatalogError": "hardware",
    "Change": "planner.records.check",
    "CheckResult": "planner.records.check",
    "Compared": "planner.records.comparison",
    "Comparison": "planner.records.comparison",
    "Cluster": "hardware",
    "ContradictionError": "strategies",
    "EstimateResult": "planner.records.result",
    "Explanation": "planner.records.explanation",
    "ExportError": "planner.exporting.launch",
    "FitResult": "planner.records.result",
    "InvalidChoiceError": "strategies",
    "Machine": "hardware",
    "MachinePlan": "planner.records.machines",
    "MachineRanking": "planner.records.machines",
    "MeasuredFileError": "planner.exporting.measured",
    "MeasuredRun": "planner.records.measurement",
    "Measurement": "planner.records.measurement",
    "Memory": "planner.records.plan",
    "MissingExtraError": "planner.extras",
    "Model": "planner.models",
    "ModelConfigError": "planner.models.sources.document",
    "OutputFileError": "planner.files",
    "Plan": "planner.records.plan",
    "PlanFileError": "planner.records.plan_file",
    "PlannerError": "hardware",
    "Request": "planner.records.asked.request",
    "RequestError": "planner.records.asked.axes",
    "SearchSpace": "planner.records.asked.space",
    "SpaceFileError": "planner.records.asked.space_file",
    "SweepFileError": "planner.sweeps.tables",
    "SweepResult": "planner.records.sweep",
    "SweepRow": "planner.records.sweep",
    "UnknownNameError": "hardware",
    "Verification": "planner.records.verification",
    "check": "planner.checking.check",
    "compare": "planner.api",
    "estimate": "planner.api",
    "explain": "planner.api.explain",
    "export": "planner.exporting.export",
    "find_model": "planner.models",
    "fit": "planner.api",
    "fit_machines": "planner.api",
    "fix": "planner.checking.fix",
    "load_catalog": "hardware",
    "report_page": "planner.pages.report",
    "sweep": "planner.api",
    "measured": "planner.exporting.measured",
    "verify": "planner.verification.verify",
}
"""The module that defines each public name."""

__all__ = [
    "GPU",
    "Catalog",
    "CatalogError",
    "Change",
    "CheckResult",
    "Cluster",
    "Compared",
    "Comparison",
    "ContradictionError",
    "EstimateResult",
    "Explanation",
    "ExportError",
    "FitResult",
    "InvalidChoiceError",
    "Machine",
    "MachinePlan",
    "MachineRanking",
    "MeasuredFileError",
    "MeasuredRun",
    "Measurement",
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
    "SweepFileError",
    "SweepResult",
    "SweepRow",
    "UnknownNameError",
    "Verification",
    "check",
    "compare",
    "estimate",
    "explain",
    "export",
    "find_model",
    "fit",
    "fit_machines",
    "fix",
    "load_catalog",
    "measured",
    "report_page",
    "sweep",
    "verify",
]


def __getattr__(name: str) -> object:
    if name in _HOMES:
        from planner.neighbours import stranger

        if in_the_way := stranger():
            raise ImportError(in_the_way)
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__]
