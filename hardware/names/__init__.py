"""Finds the entries of catalogs by the names that people write, and says what of hardware is in none."""
