"""Reads names of models as people write them, and says what is wrong with those that nobody knows."""
