"""From measured parts to the peaks of a step, the bytes of the process, and the time."""
