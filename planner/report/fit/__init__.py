"""Renders the answer of `fit`: the plans side by side, the one to run, and, where nothing fits, the ways out."""
