"""Renders results of the Python API as text and as HTML, like the reports of the command line."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, RenderableType

from planner.printable import printable
from planner.records.check import CheckResult
from planner.records.comparison import Comparison
from planner.records.display import Displayed
from planner.records.explanation import Explanation
from planner.records.machines import MachineRanking
from planner.records.measurement import Measurement
from planner.records.result import EstimateResult, FitResult
from planner.records.sweep import SweepResult
from planner.records.verification import Verification
from planner.report.check.answer import CheckReport
from planner.report.comparison import ComparisonReport
from planner.report.estimate import EstimateReport
from planner.report.explain import ExplainReport
from planner.report.fit.answer import FitReport
from planner.report.machine_ranking import MachineRankingReport
from planner.report.measured import MeasuredReport
from planner.report.sweep import SweepReport
from planner.report.verify import VerifyReport

NARROWEST, NO_TERMINAL = 40, 100
"""Fewest columns of a report, since texts in fewer would stand in single letters; and its columns where there is no
terminal, as in a notebook or a file."""

_HTML = '<pre style="font-family:monospace;line-height:1.2;white-space:pre;overflow-x:auto">{code}</pre>'

_REPORTS: Mapping[type[Displayed], Callable[[Any], RenderableType]] = {
    FitResult: FitReport,
    EstimateResult: EstimateReport,
    CheckResult: CheckReport,
    Explanation: ExplainReport,
    Comparison: ComparisonReport,
    MachineRanking: MachineRankingReport,
    SweepResult: SweepReport,
    Measurement: MeasuredReport,
    Verification: VerifyReport,
}


def report_of(result: Displayed) -> RenderableType:
    """Returns what rich draws for a result.

    Raises:
        TypeError: There is no report of such a result.
    """
    report = next((report for kind, report in _REPORTS.items() if isinstance(result, kind)), None)
    if report is not None:
        return report(result)
    raise TypeError(f"no report is made of a {type(result).__name__}")


def plain_text(result: Displayed) -> str:
    """Returns the report without color, as wide as the terminal."""
    drawn = io.StringIO()
    columns = max(NARROWEST, shutil.get_terminal_size((NO_TERMINAL, 25)).columns)
    _drawn(result, Console(file=drawn, width=columns, highlight=False, markup=False, emoji=False))
    return printable("\n".join(line.rstrip() for line in drawn.getvalue().splitlines()))


def html(result: Displayed) -> str:
    """Returns the report as an HTML element with inline styles."""
    wide = Console(file=io.StringIO(), width=NO_TERMINAL, record=True, highlight=False, markup=False, emoji=False)
    _drawn(result, wide)
    return wide.export_html(inline_styles=True, code_format=_HTML)


def _drawn(result: Displayed, console: Console) -> None:
    console.print(report_of(result), crop=False)
