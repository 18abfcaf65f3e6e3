"""Writes a plan as the configuration files of a training framework, with what starts them, and reads them back."""
