"""Renders the memory of a replayed step over its events, as a picture or a table."""

from planner.report.timeline.formats import renderer_of

__all__ = ["renderer_of"]
