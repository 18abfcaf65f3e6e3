"""Gives results their representations: a table in a terminal and in a notebook, and one line as an object."""

from __future__ import annotations

from typing import Any


class Displayed:
    """Shows a result as the report that the command line prints.

    `print(result)` and `str` give the report as plain text, rich and notebooks in color; `repr` is one line.
    """

    def __str__(self) -> str:
        from planner.report.display import plain_text

        return plain_text(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.headline()}>"

    def __rich__(self) -> Any:
        from planner.report.display import report_of

        return report_of(self)

    def _repr_html_(self) -> str:
        from planner.report.display import html

        return html(self)

    def headline(self) -> str:
        """Returns the result in a few words, for `repr`."""
        raise NotImplementedError
