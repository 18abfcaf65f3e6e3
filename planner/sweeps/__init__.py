"""Asks one question of many models, machines and lengths, on all cores, and keeps the rows in a file."""
