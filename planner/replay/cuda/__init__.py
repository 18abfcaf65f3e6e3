"""Does what CUDA does where a step on the CPU device would differ."""
