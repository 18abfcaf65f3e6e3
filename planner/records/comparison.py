"""Defines the answer of `compare` as pydantic models that round-trip through JSON."""

from typing import Literal

from planner.records.asked.request import Request
from planner.records.display import Displayed
from planner.records.plan import Plan, Record
from planner.records.verification import SCHEMA_VERSION


class Compared(Record):
    """Holds one column: a plan with its request. Where nothing fits, it is the smallest plan."""

    title: str
    request: Request
    plan: Plan


class Comparison(Displayed, Record):
    """Holds the answer of `compare`: plans next to each other."""

    schema_version: Literal[1] = SCHEMA_VERSION
    columns: tuple[Compared, ...]

    @property
    def fits(self) -> bool:
        """Returns whether all plans fit."""
        return all(column.plan.memory.fits for column in self.columns)

    def headline(self) -> str:
        """Returns the number of plans, and of those that fit, in words."""
        return f"{len(self.columns)} plans, {sum(column.plan.memory.fits for column in self.columns)} fit"
