"""What is measured, and what became of it: one line of JSON each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class Kind(StrEnum):
    RATES = "rates"
    MEMORY = "memory"
    EDGES = "edges"
    STEPS = "steps"


class Outcome(StrEnum):
    MEASURED = "measured"
    OUT_OF_MEMORY = "out of memory"
    SKIPPED = "skipped"
    FAILED = "failed"
    DIED = "died"
    """The process ended without an answer."""
    TOO_LONG = "took too long"


class Case(NamedTuple):
    """One measurement. `request`: all that decides it; `seconds`: what it may take on a data-center GPU."""

    kind: Kind
    name: str
    request: Mapping[str, Any]
    seconds: float = 10

    @property
    def key(self) -> str:
        """The same for the same measurement."""
        return json.dumps([self.kind, self.name, self.request], sort_keys=True)


class Result(NamedTuple):
    outcome: Outcome
    found: Mapping[str, Any]
    """Of a case that was measured the numbers, else the reason."""


def line_of(case: Case, result: Result, facts: Mapping[str, Any], seconds: float) -> str:
    """One line of a file of results. `facts`: machine, versions, seed."""
    document = {
        "kind": case.kind,
        "name": case.name,
        "request": case.request,
        "outcome": result.outcome,
        "found": result.found,
        "seconds": round(seconds, 3),
        **facts,
    }
    return json.dumps(document)


class Line(NamedTuple):
    """A line read back."""

    case: Case
    result: Result
    facts: Mapping[str, Any]


def read_lines(text: str) -> list[Line]:
    """The results in a file. A last line that a kill has cut off is left out."""
    found = []
    for number, line in enumerate(lines := text.splitlines()):
        try:
            document = json.loads(line)
        except json.JSONDecodeError:
            if number == len(lines) - 1:
                break
            raise
        case = Case(Kind(document.pop("kind")), document.pop("name"), document.pop("request"))
        result = Result(Outcome(document.pop("outcome")), document.pop("found"))
        found.append(Line(case, result, document))
    return found
