"""Defines requests, plans, results and search spaces as pydantic models that round-trip through JSON."""
