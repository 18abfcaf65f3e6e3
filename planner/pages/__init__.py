"""Draws answers as one page of HTML that needs nothing else: pictures, a ranking that sorts, commands to copy."""
