"""Holds the data of a text file with the position of each value, so that every problem has its line and column."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hardware.errors import CatalogError, FileError

if TYPE_CHECKING:
    import yaml

MAX_PROBLEMS: Final = 50  # more would not be read, and each takes a search for near names

Location = tuple[str | int, ...]
"""Keys and indices that lead to a value."""


@dataclass(slots=True)
class Document:
    """Holds a parsed file: its data, the position of each value, and the problems found so far.

    Attributes:
        file: Name of the file, as problems begin with it.
        data: The data of the file.
        error: Type of the error that reports the problems.
    """

    file: str
    data: Any = None
    error: type[FileError] = CatalogError
    hint: str | None = None
    """Hint of the error if the file itself cannot be read."""
    _problems: dict[tuple[Location, str], tuple[int, int]] = field(default_factory=dict)
    _positions: dict[Location, tuple[int, int]] = field(default_factory=dict)
    _refused: set[Location] = field(default_factory=set)

    def add_problem(self, location: Location, message: str) -> None:
        """Adds a problem at the position of the value at `location`, or of the nearest enclosing one in the file."""
        if location in self._refused:
            return
        known = location
        while known and known not in self._positions:
            known = known[:-1]
        self.add_problem_at(self._positions.get(known, (1, 1)), location, message)

    def add_problem_at(self, position: tuple[int, int], location: Location, message: str) -> None:
        """Adds a problem at a line and column, from 1, and raises all problems when there are `MAX_PROBLEMS`."""
        self._problems.setdefault((location, message), position)
        if len(self._problems) == MAX_PROBLEMS:
            self.raise_problems()

    def line(self, location: Location) -> int:
        """Returns the line of the value at `location`, from 1."""
        return self._positions.get(location, (1, 1))[0]

    def refuse(self, node: "yaml.Node", location: Location, message: str) -> None:
        """Adds a problem for a value without meaning, and ignores later problems at its location."""
        self.add_problem_at(position(node.start_mark), location, message)
        self._refused.add(location)

    def place(self, location: Location, node: "yaml.Node") -> None:
        """Records the position of a value."""
        self._positions[location] = position(node.start_mark)

    def place_at(self, location: Location, position: tuple[int, int]) -> None:
        """Records the line and column of a value, from 1."""
        self._positions.setdefault(location, position)

    def raise_problems(self) -> None:
        """Raises `error` with all problems so far, in the order of the file, if there are any."""
        problems = sorted(self._problems.items(), key=lambda item: item[1])
        if problems:
            lines = [f"{self.file}:{ln}:{col}: {spelled(at)}: {text}" for (at, text), (ln, col) in problems]
            raise self.error(lines, self.hint if len(lines) < MAX_PROBLEMS else "the rest of the file was not read")


def position(mark: Any) -> tuple[int, int]:
    """Returns line and column of a mark of PyYAML, from 1."""
    return (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)


def spelled(location: Location) -> str:
    """Returns a location as text, such as gpus.T4.aliases.0; parts that are not plain words are quoted."""
    parts = (str(part) if str(part).isprintable() and " " not in str(part) else repr(part) for part in location)
    return ".".join(parts) or "(file)"
