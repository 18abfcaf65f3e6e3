"""What the bytes of a part depend on, and what is known of a part when it has been measured."""
