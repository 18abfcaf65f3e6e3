"""Reads off a forward pass what parameters a model has."""
