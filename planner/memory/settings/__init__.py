"""Holds the settings that the bytes of a model's part depend on, and the measured part."""
