"""Makes plans, notes and suggestions of solved candidates."""
