"""Makes texts safe to print: results quote other people's files, whose control characters a terminal would obey."""

from __future__ import annotations


def printable(text: str) -> str:
    """Returns a text in which control characters and other unprintable ones are escaped, except line ends."""
    return text if is_plain(text) else "".join(c if is_plain(c) else repr(c)[1:-1] for c in text)


def is_plain(text: str) -> bool:
    """Returns whether a terminal shows every character of a text as it is."""
    return text.replace("\n", "").isprintable()
