"""Draws what reports are made of: words, numbers, tables and bars."""
