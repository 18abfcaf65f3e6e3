"""Implements the command line: arguments become a call of the library, and its result a rendering."""

from planner.cli.app import main

__all__ = ["main"]
