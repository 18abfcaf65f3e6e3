"""Writes a plan as the configuration files of a training framework, one target a module."""
