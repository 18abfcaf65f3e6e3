"""Finds the changes of a request that would help, ranked by what they cost the user."""

from planner.advice.shortfall import shortfall_of, ways_of_one
from planner.advice.step_more import step_more
from planner.advice.why_not import why_not

__all__ = ["shortfall_of", "step_more", "ways_of_one", "why_not"]
