"""Errors that tell the way out: what and the value, then the nearest valid thing."""

import re
from collections.abc import Iterable, Sequence

_MAX_SUGGESTIONS = 4
_LONGEST_NAME = 200  # nearest names of anything longer are not worth their time
_LONGEST_SHOWN = 60
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


def shown(value: object) -> str:
    """A value for a message: its repr in one line, shortened."""
    try:
        text = repr(value)
    except ValueError:  # an int beyond sys.set_int_max_str_digits
        return "a huge number"
    except Exception:  # whatever the repr of an object of the user's raises
        return f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


class UnknownNameError(PlannerError):
    """A name that a catalog or registry does not have; the hint holds the nearest names that it has."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind = kind
        self.name = name
        self.suggestions = nearest_names(name, known)
        listing = f"planner {kind.lower()}s lists all"
        hint = f"did you mean {', '.join(self.suggestions)}?  ({listing})" if self.suggestions else listing
        super().__init__(f"unknown {kind} {shown(name)}", hint)


class FileError(PlannerError):
    """A file that cannot be used: all its problems at once, each `file:line:column: path: message`."""

    subject = "the file"
    way_out: str | None = None
    """The hint where the problems have no other."""

    def __init__(self, problems: Sequence[str], hint: str | None = None) -> None:
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"{count} in {self.subject}", *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines), hint or self.way_out)


class CatalogError(FileError):
    """A catalog file that cannot be used."""

    subject = "the GPU catalog"
    way_out = "planner gpus show T4 --json prints an entry to start from"


def normalized(name: str) -> str:
    """The form in which names are compared: case, '-', '_' and white space do not count."""
    return re.sub(r"[-_\s]+", "", name).casefold()


def nearest_names(name: str, known: Iterable[str]) -> tuple[str, ...]:
    """Up to four known names: those that start with or contain the name; where there are none, the similar ones."""
    if len(name) > _LONGEST_NAME:
        return ()
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
