"""Implements linear layers on symbolic tensors: plain, quantized, in fp8, and with adapters."""
