"""Keeps replays of the requests in a file, since a replay takes some seconds: how torch's allocator serves the step."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, NamedTuple

from published.data_files import DATA
from published.run import Run
from published.sets.requests import BEFORE_TORCH_2_8
from recorded.replays import record

import planner
from hardware import PlannerError

RECORD = DATA / "replays.jsonl"


class Replay(NamedTuple):
    """What the replay of a request says.

    Attributes:
        allocated_bytes: Peak of torch's allocated bytes.
        process_bytes: Bytes of the process, on a larger GPU if it does not fit.
        fits: Whether the allocator serves the step within the GPU's usable bytes.
    """

    allocated_bytes: int
    process_bytes: int
    fits: bool


def key_of(run: Run) -> str:
    """Returns a text that says everything on which a replay depends."""
    return json.dumps([run.model, _replayable(run)], sort_keys=True)


def _replayable(run: Run) -> dict[str, Any]:
    """Returns a run's request as it can be replayed: with today's wrapping."""
    return {name: value for name, value in run.request.items() if name not in BEFORE_TORCH_2_8}


def replay_of(run: Run) -> Replay | None:
    """Returns the recorded replay of a run's request, or None."""
    return _recorded().get(key_of(run))


@cache
def _recorded() -> Mapping[str, Replay]:
    lines = map(json.loads, RECORD.read_text().splitlines()) if RECORD.exists() else ()
    return {json.dumps(line["request"], sort_keys=True): Replay(*line["replay"]) for line in lines if "replay" in line}


def replay_missing(runs: Iterable[Run]) -> None:
    """Replays every request that is not recorded, and appends it to the file."""
    missing = {key_of(run): run for run in runs if run.unsaid is None and replay_of(run) is None}
    record(_replayed, list(missing.values()), RECORD)


def _replayed(run: Run) -> dict[str, Any]:
    request = [run.model, _replayable(run)]
    try:
        found = planner.verify(run.model, **_replayable(run), headroom=0.0)
    except PlannerError as error:
        return {"request": request, "error": str(error)}
    return {"request": request, "replay": Replay(found.allocated_bytes, found.process_bytes, found.fits)}
