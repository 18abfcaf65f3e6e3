"""Finds what a word means to commands that list entries: one of them by its name, or all whose names hold the word."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    import click

_BARE: Final = "planner.cli.matching.bare"
"""Key in the meta data of a context."""
_SHORTEST: Final = 2
"""Letters of a word that is searched in names: one letter is in most of them."""
_BETWEEN: Final = r"[-_\s]*"
"""What names may have between any two letters of a word, since they are compared without it."""


class Found(NamedTuple):
    """Holds the entries that a word means: one that has its name, or several that are listed.

    Attributes:
        entries: The one as the function `exact` of `meant` returns it, or several of those that were searched.
        alone: Where several are listed, the entry of which the word is an alias; None if it is nobody's.
    """

    entries: Sequence[Any]
    alone: Any = None

    def note(self, word: str, command: str) -> str | None:
        """Returns a line that says which entry the word means where one is asked for; None if it is nobody's name.

        Args:
            word: The word.
            command: What lists the entries, such as `planner gpus`.
        """
        if self.alone is None:
            return None
        is_name = self.alone.name.casefold() != word.casefold()  # else it is a size, of which a stand-in was made
        what = self.alone.name if is_name else "a stand-in of that size"
        return f"{word} alone means {what}: {command} show {word}"


def mark_bare(ctx: click.Context) -> None:
    """Records that the word of a command stands without `show` in front of it."""
    ctx.meta[_BARE] = True


def is_bare(ctx: click.Context) -> bool:
    """Returns whether the word of a command stands without `show` in front of it, so that it may be a filter."""
    return _BARE in ctx.meta


def meant(
    word: str,
    entries: Iterable[Any],
    names: Callable[[Any], Iterable[str]],
    exact: Callable[[str], Any],
    *,
    bare: bool,
) -> Found:
    """Returns the entry that a word names, or several whose names hold it.

    Args:
        word: What the user wrote.
        entries: All entries.
        names: Returns what is searched of an entry; the first is its own name.
        exact: Returns the entry that has a name or alias; raises PlannerError if there is none.
        bare: Whether a word that is an alias of one entry and a part of others' names stands for all of them.

    Raises:
        PlannerError: No name holds the word.
    """
    from hardware.errors import PlannerError, UnknownNameError, normalized

    own, named = normalized(word), [(entry, list(names(entry))) for entry in entries]
    if any(own == normalized(texts[0]) for _, texts in named):
        return Found([exact(word)])
    held = [entry for entry, texts in named if _holds(own, texts)]
    try:
        alone = exact(word)
    except PlannerError as error:
        if not held or not isinstance(error, UnknownNameError):
            raise
        return Found([exact(next(iter(names(held[0]))))] if len(held) == 1 else held)
    return Found(held, alone) if bare and len(held) > 1 else Found([alone])


def _holds(word: str, texts: Iterable[str]) -> bool:
    """Returns whether a word is a part of one of the texts: from the beginning of a word, and with whole numbers.

    `llama` is a part of CodeLlama, and `lama` of none; `a100` is none of A1000, nor `7b` of 17B and 1.7B.
    """
    if len(word) < _SHORTEST:
        return False
    begin = r"(?<![0-9.])" if word[0].isdigit() else r"(?:\b|(?<=[\d_])|(?-i:(?<=[a-z])(?=[A-Z])))"
    end = r"(?![0-9])" if word[-1].isdigit() else ""
    pattern = re.compile(f"(?i){begin}{_BETWEEN.join(map(re.escape, word))}{end}")
    return any(pattern.search(text) for text in texts)
