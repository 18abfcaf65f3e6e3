"""Reads architectures from outside the registry."""
