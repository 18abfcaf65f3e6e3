"""Defines the exit codes of commands; what prints errors is imported only when there is one."""

DOES_NOT_FIT = 1
"""Exit code of an answer that nothing fits, or not what was asked about."""
USAGE = 2
"""Exit code of a mistake in the request."""
INTERNAL = 70
"""Exit code of a bug or a failure of the machine: EX_SOFTWARE of sysexits.h."""
