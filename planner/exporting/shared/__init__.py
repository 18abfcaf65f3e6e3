"""Writes what files of several targets have in common: engines, optimizers, packages, and settings of scripts."""
