"""Splits a shell script into commands, words and their pieces, by the quotes, brackets and line ends of bash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple


class Piece(NamedTuple):
    """Holds a part of a word: within single quotes nothing is replaced, within double quotes nothing is split."""

    text: str
    quote: str


def split_words(text: str) -> Iterator[list[tuple[list[Piece], int]]]:
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

    def command(self) -> list[tuple[list[Piece], int]]:
        """Returns the words up to the end of a command."""
        words: list[tuple[list[Piece], int]] = []
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

    def _word(self) -> list[Piece]:
        pieces: list[Piece] = []
        plain = ""
        while not self.is_over:
            char = self.text[self.at]
            if char in " \t\n;&|<>)" or (char == "(" and not plain.endswith("=")):
                break
            if char == "\\":
                plain += self.text[self.at + 1 : self.at + 2].replace("\n", "")
                self._take(2)
            elif char in "'\"":
                pieces += [Piece(plain, ""), Piece(self._quoted(char), char)]
                plain = ""
            elif char == "$" and self.text[self.at + 1 : self.at + 2] in ("(", "{"):
                plain += self._balanced(self.at + 1)
            elif char == "(":
                pieces += [Piece(plain, ""), Piece(self._balanced(self.at)[1:-1], "(")]
                plain = ""
            else:
                plain += char
                self._take(1)
        return [*pieces, Piece(plain, "")]

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
