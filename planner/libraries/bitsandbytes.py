"""Says how bitsandbytes (version 0.50) divides NF4 weights into blocks."""

BLOCK = 64
"""Weights that share a scale (bitsandbytes `BitsAndBytesConfig`, QLoRA paper section 3)."""
SCALE_BLOCK = 256
"""Scales that share a second-level scale under double quantization (the same sources)."""
