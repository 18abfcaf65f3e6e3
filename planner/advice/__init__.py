"""Finds the changes of a request that would help, ranked by what they cost the user.

Each question has a module that is imported where it is asked: `shortfall`, `step_more`, `why_not`.
"""
