"""Attention kernels on symbolic tensors, and the masks that they need."""
