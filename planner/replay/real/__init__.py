"""The step run for real, by the code that the replay runs."""
