"""Splits a shell script into commands and words, with the values of its own variables, as bash would; nothing runs.

What only running the script would say stays open: `${NAME}` of the environment, `$1`, the output of a command.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z_]\w*")
_ASSIGNMENT = re.compile(r"(?P<name>[A-Za-z_]\w*)(?P<more>\+?)=(?P<value>.*)", re.DOTALL)
_REFERENCE = re.compile(
    r"\$(?:\((?P<arithmetic>\([^()]*(?:\([^()]*\)[^()]*)*\))\)|\(\s*expr\s+(?P<expr>[^()]*)\)|\((?P<command>[^()]*)\)"
    r"|\{(?P<braced>[A-Za-z_]\w*|\d)(?P<all>\[@\]|\[\*\])?(?::?[-=](?P<otherwise>[^{}]*))?\}|(?P<bare>[A-Za-z_]\w*|\d|@|\*))"
)
_DECLARES = frozenset({"export", "declare", "local", "readonly"})
_OPENERS = frozenset({"then", "do", "else", "if", "elif", "while", "!", "{", "time"})
_LONGEST = 20_000
"""Most characters of a word: variables of variables would multiply it."""


class Word(NamedTuple):
    """Holds a word of a command, and its line, from 1."""

    text: str
    line: int


class Command(NamedTuple):
    """Holds a command: its environment, and its words."""

    environment: dict[str, str]
    words: list[Word]


class _Piece(NamedTuple):
    """Holds a part of a word: within single quotes nothing is replaced, within double quotes nothing is split."""

    text: str
    quote: str


def commands(text: str) -> Iterator[Command]:
    """Yields the commands of a script in the order of its lines, whatever conditions and loops stand around them."""
    known: dict[str, list[str]] = {}
    for pieces in _split(text):
        words = [word for each, line in pieces for word in _expanded(each, line, known)]
        while words and words[0].text in _OPENERS:
            del words[0]
        declares = bool(words) and words[0].text in _DECLARES
        environment: dict[str, str] = {}
        rest = words[1:] if declares else words
        while rest and (found := _ASSIGNMENT.fullmatch(rest[0].text)) is not None:
            environment[found["name"]] = found["value"]
            rest = rest[1:]
        if not rest or declares:
            _assign(known, environment, pieces)
        else:
            exported = {name: " ".join(values) for name, values in known.items()}
            yield Command({**exported, **environment}, rest)


def _assign(known: dict[str, list[str]], values: dict[str, str], pieces: list[tuple[list[_Piece], int]]) -> None:
    """Keeps the values of variables; an array's items stand in parentheses."""
    raw = [part for each, _ in pieces for part in each]
    arrays = next((part.text for part in raw if part.quote == "("), None)
    for name, value in values.items():
        if arrays is None:
            known[name] = [value]
            continue
        items = [word.text for line in _split(arrays) for each, at in line for word in _expanded(each, at, known)]
        grown = any(f"{name}+=" in part.text for part in raw)
        known[name] = [*known.get(name, []), *items] if grown else items


def _split(text: str) -> Iterator[list[tuple[list[_Piece], int]]]:
    """Yields the words of each command as their pieces, with their lines."""
    reader = _Reader(text)
    while not reader.is_over:
        words = reader.command()
        if words:
            yield words


class _Reader:
    """Goes through the characters of a script."""

    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at, self.line = 0, 1
        self._heredocs: list[str] = []

    @property
    def is_over(self) -> bool:
        """Returns whether nothing is left."""
        return self.at >= len(self.text)

    def command(self) -> list[tuple[list[_Piece], int]]:
        """Returns the words up to the end of a command."""
        words: list[tuple[list[_Piece], int]] = []
        while not self.is_over:
            char = self.text[self.at]
            if char in " \t":
                self.at += 1
            elif self.text.startswith("\\\n", self.at):
                self.at, self.line = self.at + 2, self.line + 1
            elif char == "#":
                self._skip_line()
            elif char in "\n;&|()":
                self._take(1)
                if char == "\n":
                    self._skip_heredocs()
                return words
            elif char in "<>":
                if self.text[self.at - 1 : self.at].isdigit() and words:
                    words.pop()  # the number of a file descriptor, as in 2>&1
                self._redirect()
            else:
                words.append((self._word(), self.line))
        return words

    def _word(self) -> list[_Piece]:
        pieces: list[_Piece] = []
        plain = ""
        while not self.is_over:
            char = self.text[self.at]
            if char in " \t\n;&|<>)" or (char == "(" and not plain.endswith("=")):
                break
            if char == "\\":
                plain += self.text[self.at + 1 : self.at + 2].replace("\n", "")
                self._take(2)
            elif char in "'\"":
                pieces += [_Piece(plain, ""), _Piece(self._quoted(char), char)]
                plain = ""
            elif char == "$" and self.text[self.at + 1 : self.at + 2] in ("(", "{"):
                plain += self._balanced(self.at + 1)
            elif char == "(":
                pieces += [_Piece(plain, ""), _Piece(self._balanced(self.at)[1:-1], "(")]
                plain = ""
            else:
                plain += char
                self._take(1)
        return [*pieces, _Piece(plain, "")]

    def _quoted(self, quote: str) -> str:
        end = self.at + 1
        while end < len(self.text) and self.text[end] != quote:
            end += 2 if quote == '"' and self.text[end] == "\\" else 1
        inner = self.text[self.at + 1 : end]
        self._take(end + 1 - self.at)
        if quote == '"':
            inner = re.sub(r'\\([\\"`]|\n)', lambda found: found[1].strip("\n"), inner)
        return inner

    def _balanced(self, start: int) -> str:
        """Returns the text from here to the bracket that closes the one at `start`."""
        depth, end = 0, start
        while end < len(self.text):
            depth += {"(": 1, "{": 1, ")": -1, "}": -1}.get(self.text[end], 0)
            end += 1
            if depth == 0:
                break
        found = self.text[self.at : end]
        self._take(end - self.at)
        return found

    def _redirect(self) -> None:
        here = self.text.startswith("<<", self.at) and not self.text.startswith("<<<", self.at)
        while not self.is_over and self.text[self.at] in "<>&- \t":
            self._take(1)
        target = "".join(piece.text for piece in self._word())
        if here:
            self._heredocs.append(target)

    def _skip_heredocs(self) -> None:
        while self._heredocs and not self.is_over:
            line = self._skip_line()
            self._take(1)
            if line.strip() == self._heredocs[0]:
                del self._heredocs[0]

    def _skip_line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        line = self.text[self.at : end]
        self.at = end
        return line

    def _take(self, count: int) -> None:
        self.line += self.text.count("\n", self.at, self.at + count)
        self.at += count


def _expanded(pieces: list[_Piece], line: int, known: dict[str, list[str]]) -> list[Word]:
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
            parts = filled.split() if "$" in piece.text and "${" not in filled else [filled]
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
