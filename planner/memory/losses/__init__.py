"""Traces losses on symbolic tensors, computed from logits or directly from the last hidden states."""
