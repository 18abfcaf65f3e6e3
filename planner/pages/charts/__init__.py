"""Draws charts, one a file: bars as HTML that flows, curves and points as SVG of a wide and a narrow size."""
