"""How bitsandbytes divides NF4 weights into blocks (of version 0.50)."""

BLOCK = 64
"""Elements per scale (bitsandbytes `BitsAndBytesConfig`, QLoRA paper section 3)."""
SCALE_BLOCK = 256
"""Scales per second-level scale under double quantization (same)."""
