"""Solves the strategies of a space for their largest micro-batch, and ranks those that fit."""

from planner.search.candidate import Candidate
from planner.search.engine import DOES_NOT_FIT, EngineError, EngineSettings, Found, TooManyStrategiesError
from planner.search.exhaustive import ranked, search, smallest
from planner.search.order import Order
from planner.search.ranking import Ranking
from planner.search.run_limits import RunLimits
from planner.search.solver import Solver

__all__ = [
    "DOES_NOT_FIT",
    "Candidate",
    "EngineError",
    "EngineSettings",
    "Found",
    "Order",
    "Ranking",
    "RunLimits",
    "Solver",
    "TooManyStrategiesError",
    "ranked",
    "search",
    "smallest",
]
