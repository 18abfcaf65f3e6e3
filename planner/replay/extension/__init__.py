"""Few blocks of a run are replayed, and the others follow from them."""
