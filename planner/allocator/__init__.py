"""Simulates torch's caching allocator, with segments of fixed size and with expandable ones."""
