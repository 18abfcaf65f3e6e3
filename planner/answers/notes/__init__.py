"""Writes the notes of an answer, by what they are about."""
