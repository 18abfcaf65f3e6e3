"""Stands in for quantized linear layers, and for what libraries do around them."""
