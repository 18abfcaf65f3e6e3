"""Computes what DeepSpeed's ZeRO keeps and allocates, by running its bookkeeping over the marks of a traced model."""
