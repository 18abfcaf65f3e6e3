"""Errors that tell the way out: what and the value, then the nearest valid thing."""

import re
from collections.abc import Iterable, Sequence

_MAX_SUGGESTIONS = 4
_MIN_SIMILARITY = 0.6  # difflib's own cutoff for "close" matches
_SHORTEST_PART = 2  # one letter is a part of half of the catalog
_CONTAINS = 1.0  # above every ratio


class PlannerError(Exception):
    """Base class of every error of the product; the command line shows it as `error:` and `hint:`."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"


class UnknownNameError(PlannerError):
    """A name that a catalog or registry does not have; the hint holds the nearest names that it has."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.suggestions = nearest_names(name, known)
        listing = f"planner {kind.lower()}s lists all"
        hint = f"did you mean {', '.join(self.suggestions)}?  ({listing})" if self.suggestions else listing
        super().__init__(f"unknown {kind} {name!r}", hint)


class FileError(PlannerError):
    """A file that cannot be used: all its problems at once, each `file:line:column: path: message`."""

    subject = "the file"

    def __init__(self, problems: Sequence[str], hint: str | None = None) -> None:
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"{count} in {self.subject}", *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines), hint)


class CatalogError(FileError):
    """A catalog file that cannot be used."""

    subject = "the GPU catalog"


def normalized(name: str) -> str:
    """The form in which names are compared: case, '-', '_' and white space do not count."""
    return re.sub(r"[-_\s]+", "", name).casefold()


def nearest_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to four known names: those that start with or contain the name; where there are none, the similar ones."""
    wanted = normalized(name)
    scored = [(_closeness(wanted, normalized(candidate)), candidate) for candidate in known]
    best = max((score for score, _ in scored), default=0.0)
    cutoff = _CONTAINS if best >= _CONTAINS else _MIN_SIMILARITY
    close = sorted((pair for pair in scored if pair[0] >= cutoff), key=lambda pair: -pair[0])
    return tuple(candidate for _, candidate in close[:_MAX_SUGGESTIONS])


def _closeness(wanted: str, candidate: str) -> float:
    from difflib import SequenceMatcher  # only errors need it

    ratio = SequenceMatcher(None, wanted, candidate).ratio()
    if len(wanted) < _SHORTEST_PART or wanted not in candidate:
        return ratio
    return _CONTAINS + ratio + (1 if candidate.startswith(wanted) else 0)
