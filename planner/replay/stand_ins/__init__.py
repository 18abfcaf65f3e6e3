"""Stand-ins for what runs only on GPUs, or in packages that are not installed: the same bytes, no kernels."""
