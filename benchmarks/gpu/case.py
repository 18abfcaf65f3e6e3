"""Defines the measurements and their outcomes, one line of JSON each."""

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
    """The process ended without giving an answer."""
    TOO_LONG = "took too long"


class Case(NamedTuple):
    """Describes one measurement."""

    kind: Kind
    name: str
    request: Mapping[str, Any]
    """Everything on which the measurement depends."""
    seconds: float = 10
    """Time that it is expected to take on a data-center GPU."""

    @property
    def key(self) -> str:
        """Returns a text that identifies the measurement."""
        return json.dumps([self.kind, self.name, self.request], sort_keys=True)


class Result(NamedTuple):
    """Holds the outcome of a case."""

    outcome: Outcome
    found: Mapping[str, Any]
    """Numbers of a case that was measured; otherwise the reason, as `reason`."""


def line_of(case: Case, result: Result, facts: Mapping[str, Any], seconds: float) -> str:
    """Returns one line of a file of results.

    Args:
        case: The case.
        result: Its outcome.
        facts: Machine, versions and seed.
        seconds: Time that the measurement took.
    """
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
    """Holds a line of a file of results."""

    case: Case
    result: Result
    facts: Mapping[str, Any]


def read_lines(text: str) -> list[Line]:
    """Returns the results in a file, without a last line that is incomplete because the process was killed."""
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
