"""Solves the strategies of a space for their largest micro-batch, and ranks those that fit."""

from planner.search.candidate import Candidate, Solver
from planner.search.engine import DOES_NOT_FIT, EngineError, EngineSettings, Found, TooManyStrategiesError
from planner.search.exhaustive import search, smallest
from planner.search.ranking import Ranking

__all__ = [
    "DOES_NOT_FIT",
    "Candidate",
    "EngineError",
    "EngineSettings",
    "Found",
    "Ranking",
    "Solver",
    "TooManyStrategiesError",
    "search",
    "smallest",
]
