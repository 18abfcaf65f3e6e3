"""`python -m planner`."""

from planner.entry import main

main()
