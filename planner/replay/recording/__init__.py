"""Records what a replay allocates and frees, and derives peaks, timelines and memory snapshots from it."""
