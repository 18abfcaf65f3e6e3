"""Computes what each rank keeps of parameters, gradients and optimizer states, and what FSDP2 gathers during a step."""
