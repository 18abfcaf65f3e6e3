"""Compares the memory model with replays over all choices: each is combined with every other axis and every model.

    python benchmarks/coverage.py                 # print the tables from the recorded replays
    python benchmarks/coverage.py --replay        # choose cells for what is not covered yet, replay them, then print
    python benchmarks/coverage.py --cells         # only print the cells that would be replayed
    python benchmarks/coverage.py --add model=smollm2-135m,gpus=2,sharding=full_shard,sharding_backend=deepspeed
                                                  # replay this cell, usual in all else, and print its errors

Each cell is one steady step; recorded/coverage.jsonl holds its replay with the command that repeats it. All choices of
the axes take part, and one model of each family of the registry; the next run adds cells for a new choice or family.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from recorded.cells import (
    BEFORE,
    NOT_VARIED,
    added,
    arguments,
    command,
    factors,
    refusal,
    relevant,
    untried,
    usual,
    values_of,
)
from recorded.pairs import Cell, Cover, cover
from recorded.replays import Errors, errors_of, record

import planner
from planner import PlannerError
from planner.verification.replayed import phases_of
from strategies import OPTIONS

RECORD = Path(__file__).with_name("recorded") / "coverage.jsonl"


class Recorded(NamedTuple):
    """Holds the recorded replay of a cell."""

    cell: Cell
    bytes: dict[str, int]
    """Peak bytes of tensors and cuBLAS workspaces, by phase."""
    refused: str | None
    """Reason why there is no replay; None if there is one."""


def read_record() -> list[Recorded]:
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return [Recorded(_with_options(x["cell"]), x.get("bytes", {}), x.get("refused")) for x in map(json.loads, lines)]


def _with_options(cell: Cell) -> Cell:
    """Returns a recorded cell with the options that came after it."""
    meant = {n: v for n, v in BEFORE.items() if n not in OPTIONS or OPTIONS[n].refines(cell)}
    return {**meant, **cell}


def chosen(known: list[Recorded]) -> Cover:
    still = [r.cell for r in known if set(r.cell.items()) <= {(n, v) for n, vs in factors().items() for v in vs}]
    return cover(factors(), (usual(), {**usual(), "gpus": 8}), refusal, still, relevant)


def replayed(cell: Cell) -> dict[str, Any]:
    entry: dict[str, Any] = {"command": command(cell), "cell": cell}
    try:
        phases = planner.verify(**arguments(cell)).phases
    except PlannerError as error:
        return {**entry, "refused": error.message}
    except Exception as error:  # a replay that fails is a finding, which the table shows
        return {**entry, "refused": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return {**entry, "bytes": {name: phase.replay_bytes for name, phase in phases.items()}}


def replay(cells: Iterable[Cell]) -> None:
    """Replays cells in random order, so that a run that is stopped early has replayed a sample of them."""
    shuffled = list(cells)
    random.Random(0).shuffle(shuffled)
    record(replayed, shuffled, RECORD)


# --- the tables ---


def held_against(recorded: Recorded) -> Errors:
    memory = planner.estimate(**arguments(recorded.cell)).memory
    return errors_of(recorded.cell, recorded.bytes, phases_of(memory.moments))


def row(name: str, found: list[Errors]) -> str:
    worst = max(found, key=lambda e: abs(e.peak))
    median = statistics.median(abs(e.peak) for e in found)
    phase = max(found, key=lambda e: abs(e.largest)).largest
    return f"| {name} | {len(found)} | {median:.3%} | {worst.peak:+.2%} | {phase:+.2%} | {told(worst.cell)} |"


def told(cell: Cell) -> str:
    """Describes a cell by its model and the values that differ from the usual ones."""
    return " ".join([cell["model"], *(f"{n}={v}" for n, v in cell.items() if n != "model" and v != usual()[n])])


def heading(name: str) -> str:
    return f"\n| {name} | n | peak: median error | worst | worst of a phase | the worst cell |\n{'|---' * 6}|"


def tables(errors: list[Errors]) -> Iterator[str]:
    errors = [e._replace(cell=values_of(e.cell)) for e in errors]
    for name, values in factors().items():
        yield heading(name)
        for value in values:
            if found := [e for e in errors if e.cell.get(name) == value]:
                yield row(str(value), found)
            else:
                yield f"| {value} | 0 | | | | no replay |"
    yield heading("all")
    yield row("all", errors)
    lower = [e for e in errors if e.missing_bytes > 0]
    if lower:
        worst = max(lower, key=lambda e: e.missing_bytes)
        yield (
            f"\nThe model is below the replay in {len(lower)} of {len(errors)} cells, at most by "
            f"{worst.missing_bytes / 2**20:.1f} MiB: {told(worst.cell)}"
        )


def print_tables(record: list[Recorded]) -> None:
    for line in tables([held_against(r) for r in record if r.bytes and refusal(r.cell) is None]):
        print(line)
    never = untried(r.cell for r in record if r.bytes)
    print("\nValues never tried:", ", ".join(f"{name} {value}" for name, value in never) or "none")
    for name, why in NOT_VARIED.items():
        print(f"not varied: {name}, {why}")
    for reason, number in Counter(r.refused for r in record if r.refused).most_common():
        print(f"not replayed ({number}): {reason}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", action="store_true", help="replay what is not covered yet")
    parser.add_argument("--cells", action="store_true", help="print the cells that would be replayed")
    parser.add_argument("--add", type=added, action="append", metavar="CELL", help="replay a cell: NAME=VALUE,...")
    options = parser.parse_args()
    known = read_record()
    if options.add:
        replay(options.add)
        print(heading("added"))
        for recorded in read_record()[len(known) :]:
            print(recorded.refused or row("", [held_against(recorded)]))
    if options.replay or options.cells:
        found = chosen(known)
        for pair, why in sorted(found.impossible.items(), key=str):
            print("impossible:", " and ".join(f"{name} {value}" for name, value in sorted(pair)), "-", why)
        to_replay, impossible = len(found.cells), len(found.impossible)
        print(f"{len(known)} cells are recorded, {to_replay} to replay, {impossible} pairs are impossible")
        if options.cells:
            print("\n".join(map(command, found.cells)))
        else:
            replay(found.cells)
    if not (options.cells or options.add):
        print_tables(read_record())
