"""Sets of strategies: all combinations of choices, counted or enumerated in chains."""
