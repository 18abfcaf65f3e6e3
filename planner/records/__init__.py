"""What goes in and comes out, as pydantic models that round-trip through JSON."""
