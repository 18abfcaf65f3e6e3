"""Says what FSDP2 keeps on a GPU, and what it adds to each moment of a step."""
