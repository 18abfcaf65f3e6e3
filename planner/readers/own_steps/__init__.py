"""Reads files of programs with a step of their own: planned where it is that of transformers, else told and refused."""
