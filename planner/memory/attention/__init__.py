"""Traces attention implementations on symbolic tensors, and the masks that they need."""
