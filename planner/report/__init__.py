"""Renders results for people in a terminal, and as JSON documents."""
