"""The search: solves every strategy of a space for its largest micro-batch and ranks what fits."""

from planner.search.candidate import Candidate, Solver
from planner.search.exhaustive import Found, search, smallest
from planner.search.ranking import Ranking

__all__ = ["Candidate", "Found", "Ranking", "Solver", "search", "smallest"]
