"""Runs the command line as `python -m planner`."""

from planner.entry import main

main()
