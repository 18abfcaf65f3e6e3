"""Fills in a script's own variables and arithmetic; what only running it would say stays open, as `${NAME}`."""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

from planner.readers.launching.pieces import Piece

_NAME = re.compile(r"[A-Za-z_]\w*")
_REFERENCE = re.compile(
    r"\$(?:\((?P<arithmetic>\([^()]*(?:\([^()]*\)[^()]*)*\))\)|\(\s*expr\s+(?P<expr>[^()]*)\)|\((?P<command>[^()]*)\)"
    r"|\{(?P<braced>[A-Za-z_]\w*|\d)(?P<all>\[@\]|\[\*\])?(?::?[-=](?P<otherwise>[^{}]*))?\}|(?P<bare>[A-Za-z_]\w*|\d|@|\*))"
)
_SPLIT = re.compile(r"(?:\$\{[^{}]*\}|\S)+")
_LONGEST = 20_000
"""Most characters of a word: variables of variables would multiply it."""


class Word(NamedTuple):
    """Holds a word of a command, and its line, from 1."""

    text: str
    line: int


def expanded(pieces: list[Piece], line: int, known: dict[str, list[str]]) -> list[Word]:
    """Returns the words that one word becomes: none for an empty variable, several for one with spaces."""
    texts, begun = [""], any(piece.quote in "'\"" for piece in pieces if piece.quote)
    for piece in pieces:
        if piece.quote == "'":
            texts[-1] += piece.text
        elif piece.quote == '"':
            whole = _REFERENCE.fullmatch(piece.text)
            if whole is not None and (whole["all"] or whole["bare"] in ("@", "*")):
                items = known.get(whole["braced"] or "", [])
                texts[-1:] = [texts[-1] + item for item in items] or [texts[-1]]
                begun = begun and bool(items)
            else:
                texts[-1] += _filled(piece.text, known)
        elif piece.quote != "(":
            filled = _filled(piece.text, known)
            # what stays open, `${a command}`, is one word with its spaces
            parts = [each[0] for each in _SPLIT.finditer(filled)] if "$" in piece.text else [filled]
            texts[-1] += parts[0] if parts else ""
            texts += parts[1:]
    return [Word(text[:_LONGEST], line) for text in texts if text or begun]


def _filled(text: str, known: dict[str, list[str]]) -> str:
    def value(found: re.Match[str]) -> str:
        arithmetic = found["arithmetic"] or found["expr"]
        if arithmetic is not None:
            number = _whole(_NAME.sub(lambda name: " ".join(known.get(name[0], [name[0]])), _filled(arithmetic, known)))
            return "${arithmetic}" if number is None else str(number)
        if found["command"] is not None:
            return f"${{{found['command'].strip()}}}"
        name = found["braced"] or found["bare"]
        if name in known:
            return " ".join(known[name])
        return f"${{{name}}}" if found["otherwise"] is None else _filled(found["otherwise"], known)

    return _REFERENCE.sub(value, text)[:_LONGEST] if "$" in text else text


def _whole(text: str) -> int | None:
    """Returns the value of a whole expression with + - * / %; None if it is no such thing."""
    try:
        return _evaluated(ast.parse(text.replace("\\*", "*").strip(), mode="eval").body) if len(text) < 200 else None
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return None


def _evaluated(node: ast.expr) -> int:
    if isinstance(node, ast.Constant) and type(node.value) is int and abs(node.value) < 10**12:
        return node.value
    if isinstance(node, ast.BinOp):
        left, right = _evaluated(node.left), _evaluated(node.right)
        match node.op:
            case ast.Add():
                return left + right
            case ast.Sub():
                return left - right
            case ast.Mult():
                return left * right
            case ast.Div() | ast.FloorDiv():
                return left // right
            case ast.Mod():
                return left % right
    raise ValueError(f"{type(node).__name__} is not evaluated")
