"""Reads files of programs whose training step is their own: what they say is told, and no step is planned for it."""
