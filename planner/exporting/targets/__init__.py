"""Writes a plan for training frameworks, a target a module."""
