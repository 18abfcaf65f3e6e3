"""Writes where a run happens, one launcher a module: each wraps the script of a framework's files."""
