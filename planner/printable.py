"""Texts that no terminal obeys: what results quote may come from anybody's file."""

from __future__ import annotations


def printable(text: str) -> str:
    """Returns the text with every character spelled out that a terminal would obey or not show, line ends apart."""
    return text if is_plain(text) else "".join(c if is_plain(c) else repr(c)[1:-1] for c in text)


def is_plain(text: str) -> bool:
    """Says whether a terminal shows every character of a text as it is."""
    return text.replace("\n", "").isprintable()
