"""A tape of symbolic tensors: bytes, autograd's graph, and a rule for each operation."""
