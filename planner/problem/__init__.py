"""Resolves a request: the caller's arguments become a model, a cluster and a space to search."""
