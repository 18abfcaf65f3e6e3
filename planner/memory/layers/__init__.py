"""The vocabulary of forward passes, interpreted on symbolic tensors."""
