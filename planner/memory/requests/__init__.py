"""Composes what a process asks of the caching allocator, in order, and says what that reserves."""
