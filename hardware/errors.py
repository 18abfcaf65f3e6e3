"""Defines the errors of the product: each says what is wrong, shows the value, and hints at the nearest valid one."""

from collections.abc import Callable, Iterable, Sequence

_MAX_SUGGESTIONS = 4
_LONGEST_NAME = 200  # searching near names of a longer text would take too long
_LONGEST_SHOWN = 60
_MIN_SIMILARITY = 0.6  # difflib's own cutoff for "close" matches
_SHORTEST_START = 2  # half of the catalog starts with one of a few letters
_SHORTEST_PART = 3  # two letters are somewhere in any long name, such as tp in outputs, unless they are a word of it
_CONTAINS = 1.0  # added to the ratio of names that contain the text, so that they rank above all others


class PlannerError(Exception):
    """Serves as the base class of every error of the product.

    The command line shows an error as `error:` and `hint:`.

    Attributes:
        message: What is wrong.
        hint: How to mend it, or None.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def reword(self, message: str, hint: str | None) -> None:
        """Says what is wrong, and how to mend it, in words that fit better where more is known."""
        self.message, self.hint = message, hint
        self.args = (message,)


def shown(value: object) -> str:
    """Returns a value as error texts show it: its repr on one line, shortened to 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # an int beyond sys.set_int_max_str_digits
        return "a huge number"
    except Exception:  # the repr of a caller's object may raise anything
        return f"a {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 3]}..."


class UnknownNameError(PlannerError):
    """Reports a name that a catalog or registry does not have; the hint gives the nearest names that it has.

    Args:
        kind: What the name is of, such as `GPU`; `planner <kind>s` lists the known ones.
        name: The unknown name.
        known: All names that exist.
        same: Returns what a known name is of, so that of one thing one name is suggested.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], same: Callable[[str], str] | None = None) -> None:
        self.kind = kind
        self.name = name
        self.suggestions = nearest_names(name, known, same)
        listing = f"planner {kind.lower()}s lists all"
        hint = f"did you mean {', '.join(self.suggestions)}?  ({listing})" if self.suggestions else listing
        super().__init__(f"unknown {kind} {shown(name)}", hint)


class FileError(PlannerError):
    """Reports all problems of a file that cannot be used, each as `file:line:column: path: message`.

    Args:
        problems: One line of text for each problem.
        hint: How to mend them; `way_out` if None.
    """

    subject = "the file"
    """Name of the kind of file in the message."""
    way_out: str | None = None
    """Hint if none is given."""

    def __init__(self, problems: Sequence[str], hint: str | None = None) -> None:
        self.problems = list(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = [f"{count} in {self.subject}", *(f"  {problem}" for problem in self.problems)]
        super().__init__("\n".join(lines), hint or self.way_out)


class CatalogError(FileError):
    """Reports all problems of a catalog file that cannot be used."""

    subject = "the GPU catalog"
    way_out = "base: T4 takes what an entry leaves out from that of T4; planner gpus show T4 prints it"


def normalized(name: str) -> str:
    """Returns a name in the form in which names are compared: without '-', '_' and white space, and without case."""
    return "".join(name.replace("-", " ").replace("_", " ").split()).casefold()


def nearest_names(name: str, known: Iterable[str], same: Callable[[str], str] | None = None) -> tuple[str, ...]:
    """Returns up to four known names that are close to a name, the closest first.

    Where `same` says what a name is of, they are names of different things.

    These are the names that start with it or contain it, as a word where it has two letters; if there are none, those
    that are similar by difflib's ratio.
    """
    if len(name) > _LONGEST_NAME:
        return ()
    wanted = normalized(name)
    scored = [(_closeness(wanted, candidate), candidate) for candidate in known]
    best = max((score for score, _ in scored), default=0.0)
    cutoff = _CONTAINS if best >= _CONTAINS else _MIN_SIMILARITY
    close = sorted((pair for pair in scored if pair[0] >= cutoff), key=lambda pair: -pair[0])
    closest: dict[str, str] = {}
    for _, candidate in close:
        closest.setdefault(candidate if same is None else same(candidate), candidate)
    return tuple(closest.values())[:_MAX_SUGGESTIONS]


def _closeness(wanted: str, name: str) -> float:
    """Returns difflib's ratio, plus 1 if `name` contains `wanted`, plus 1 more if it starts with it."""
    from difflib import SequenceMatcher  # imported here because only errors need it

    candidate = normalized(name)
    ratio = SequenceMatcher(None, wanted, candidate).ratio()
    if len(wanted) >= _SHORTEST_START and candidate.startswith(wanted):
        return _CONTAINS + ratio + 1
    is_part = wanted in candidate if len(wanted) >= _SHORTEST_PART else wanted in _words(name)
    return _CONTAINS + ratio if is_part else ratio


def _words(name: str) -> list[str]:
    return name.replace("-", " ").replace("_", " ").casefold().split()
