"""Says settings in the keys of a framework: the way back from the planner's words."""
