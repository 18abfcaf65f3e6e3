"""Interprets routers and experts on symbolic tensors."""
