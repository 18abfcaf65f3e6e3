"""Stands in for code that runs only on GPUs or needs packages that are not installed: the same bytes, no kernels."""
