"""Parses untrusted JSON within limits, so that no content takes much time or memory."""

from __future__ import annotations

from typing import Any, Final

MAX_DEPTH: Final = 50
"""Most levels of nesting."""
MAX_CONTAINERS: Final = 100_000
"""Most objects and lists in one text; a plan has a dozen."""

MAX_DIGITS: Final = 40
"""Most digits of a whole number. Sizes have at most 20; numbers with hundreds of digits overflow when they are used."""


class JsonError(Exception):
    """Reports a text that is not JSON, or that exceeds the limits.

    Attributes:
        message: What is wrong.
        line: Line of the problem, from 1; 0 if it concerns the whole text.
        column: Column of the problem, from 1; 0 if it concerns the whole text.
    """

    def __init__(self, message: str, line: int = 0, column: int = 0) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


def parse_json(text: str) -> Any:
    """Returns the value in a JSON text.

    Raises:
        JsonError: The text is not valid JSON, or exceeds one of the limits.
    """
    if text.count("{") + text.count("[") > MAX_CONTAINERS:
        raise JsonError(f"more than {MAX_CONTAINERS} objects and lists")
    import json  # most commands read none

    try:
        value = json.loads(text, parse_int=_whole_number)
    except json.JSONDecodeError as error:
        raise JsonError(f"not valid JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise JsonError(f"nested deeper than {MAX_DEPTH} levels") from None
    _check_depth(value)
    return value


def decoded(content: bytes) -> str:
    """Returns the text of a file in UTF-8, with or without a byte order mark.

    Raises:
        JsonError: The bytes are not UTF-8.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before, byte = content[: error.start], content[error.start]
        line, column = before.count(b"\n") + 1, error.start - before.rfind(b"\n")
        raise JsonError(f"not UTF-8 text (byte {byte:#04x})", line, column) from None


def _whole_number(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise JsonError(f"a number with more than {MAX_DIGITS} digits")
    return int(digits)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for holder in level
            if isinstance(holder, dict | list)
            for item in (holder.values() if isinstance(holder, dict) else holder)
        ]
        if not level:
            return
    raise JsonError(f"nested deeper than {MAX_DEPTH} levels")
