"""From solved candidates to plans, notes and suggestions."""
