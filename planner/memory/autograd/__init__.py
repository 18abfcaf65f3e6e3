"""Autograd for bytes: symbolic tensors, the tape that records operations on them, and a rule for each operation."""
