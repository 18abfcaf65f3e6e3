"""Implements autograd for bytes: symbolic tensors, a tape that records operations on them, and a rule per operation."""
