"""torch's caching allocator, simulated: segments of fixed size, and expandable ones."""
