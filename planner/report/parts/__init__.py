"""What reports are made of: words, numbers, tables and bars."""
