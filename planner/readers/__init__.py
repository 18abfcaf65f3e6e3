"""Reads configuration files of training frameworks: what they say in the planner's words, one framework a module."""
