"""Defines requests, plans, results and search spaces as pydantic models that round-trip through JSON.

Their modules leave `from __future__ import annotations` out: pydantic would compile and evaluate each annotation from
text, for every class that inherits it, which is a fiftieth of what `planner fit` does.
"""
