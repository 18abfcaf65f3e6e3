"""Finds changes of a run's files: what makes it run, fit, its batch larger, or its step faster."""
