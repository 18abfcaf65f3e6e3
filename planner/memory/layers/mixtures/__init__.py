"""Routers and experts on symbolic tensors."""
