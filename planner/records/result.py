"""The answers of `fit` and `estimate`, as pydantic models that round-trip through JSON."""

from __future__ import annotations

from typing import Literal

from planner.records.display import Displayed
from planner.records.plan import Bytes, Plan, Record
from planner.records.request import Request
from planner.records.verification import SCHEMA_VERSION, Verification
from strategies import Engine, Sampler


class Searched(Record):
    """How much was searched: `strategies` scored, `feasible` of them fit with at least one sample per GPU.

    The exhaustive engine scores all strategies of the space; optuna those that its `trials` came to.
    """

    strategies: int
    feasible: int
    seconds: float
    engine: Engine = Engine.EXHAUSTIVE
    sampler: Sampler | None = None
    trials: int | None = None
    """Of the study, those of earlier runs among them."""


class Way(Record):
    """A change of the request under which something fits."""

    change: str
    """In words, with the option to use."""
    options: dict[str, str | int]
    """The options to change, as the command line spells them."""


class Shortfall(Record):
    """Why nothing fits: the smallest plan found, and what it lacks."""

    smallest: Plan
    moment: str
    term: str
    """The largest category at that moment."""
    over_bytes: Bytes
    ways: tuple[Way, ...]
    """Changes that would fit, cheapest first."""


class FitResult(Displayed, Record):
    """Answer of `fit`. `plans` are ranked; when there are none, `shortfall` says why."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    plans: tuple[Plan, ...]
    """The first `top` of the ranking."""
    best_by_method: tuple[Plan, ...]
    """The best plan of each fine-tuning method that fits, whether it is among `plans` or not."""
    searched: Searched
    rejected: dict[str, int]
    """Strategies that were left out or do not fit, counted by reason."""
    notes: tuple[str, ...]
    shortfall: Shortfall | None = None
    verification: Verification | None = None
    """The replay of the first plan, where one was asked for."""

    def headline(self) -> str:
        """Says how many plans there are, and how good the first one is."""
        where = f"{self.request.model} on {self.request.where}"
        if not self.plans:
            return f"nothing fits for {where}"
        return f"{len(self.plans)} plans for {where}, effective batch {self.plans[0].global_batch_size}"


class EstimateResult(Displayed, Plan):
    """Answer of `estimate`: one plan, with the account behind it."""

    schema_version: Literal[1] = SCHEMA_VERSION
    request: Request
    notes: tuple[str, ...] = ()

    def headline(self) -> str:
        """Says whether the plan fits, and how much of the budget it takes."""
        return f"{self.request.model} on {self.request.where} {self.memory.verdict}"
