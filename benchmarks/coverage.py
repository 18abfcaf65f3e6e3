"""Compares the memory model with replays over all choices: each is combined with every other axis and every model.

    python benchmarks/coverage.py                 # print the tables from the recorded replays
    python benchmarks/coverage.py --replay        # choose cells for what is not covered yet, replay them, then print
    python benchmarks/coverage.py --cells         # only print the cells that would be replayed

Each cell is one steady step; coverage.jsonl holds its replay with the command that repeats it. All choices of the axes
take part, and one model of each family of the registry; the next run adds cells for a new choice or family.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from pairs import Cell, Cover, cover
from replays import Errors, errors_of, record

import planner
from planner import PlannerError
from planner.models import registry_models
from planner.verification.replayed import phases_of
from strategies import AXES, OPTIONS, Outputs, Quantization, Task

RECORD = Path(__file__).with_suffix(".jsonl")
GPU, SEQUENCE_LENGTH, MICRO_BATCH_SIZE = "H100-80GB-SXM", 512, 2

MODELS = {
    "bert": "bert-base-cased",
    "llama": "llama-3.2-1b",
    "qwen2": "qwen2.5-0.5b",
    "xlm-roberta": "xlm-roberta-base",
}
"""Model of a family, where the smallest one is not the one that people train."""

LARGEST = 10 * 10**9
"""Parameters of the largest model that is replayed; larger ones of a family only repeat its blocks."""

NUMBERS: dict[str, tuple[Any, ...]] = {
    "lora_rank": (8, 64),
    "lora_dropout": (0.0, 0.1),
    "trained_blocks": (2, 4),
    "checkpoint_every": (1, 2),
    "optimizer_rank": (16, 128),
    "reshard_size": (0, 4),
    "shard_size": (4, 2),
    "reduce_bucket": (0, 20_000_000),
    "prefetch_bucket": (0, 5_000_000),
    "persistence_threshold": (0, 100_000),
    "max_live_parameters": (0, 50_000_000),
    "max_reuse_distance": (0, 10_000_000),
    "sub_group_size": (0, 10_000_000),
}
"""Values of options that are numbers; the other options take all their choices."""

USUAL: dict[str, Any] = {
    "model": "llama-3.2-1b",
    "gpus": 1,
    "gradient_accumulation_steps": 1,
    "precision": "bf16-mixed",
    "finetuning": "full",
}


@cache
def factors() -> dict[str, tuple[Any, ...]]:
    """Returns what varies between cells, each factor with its values."""
    found: dict[str, tuple[Any, ...]] = {
        "model": tuple(models()),
        "task": tuple(choice.value for choice in Task),
        "gpus": (1, 2, 8),
        "gradient_accumulation_steps": (1, 2),
        "outputs": tuple(choice.value for choice in Outputs),
    }
    for name, option in OPTIONS.items():
        if isinstance(option.kind, type):
            # qlora without quantization is lora
            found[name] = tuple(choice.value for choice in option.kind if choice is not Quantization.NONE)
        elif name in NUMBERS:
            found[name] = NUMBERS[name]
    return found


@cache
def models() -> list[str]:
    """Returns one model of every family: the smallest in the registry, or that of `MODELS`."""
    smallest: dict[str, tuple[int, str]] = {}
    for entry in registry_models():
        size = planner.find_model(entry.name).num_parameters
        if size <= LARGEST:
            smallest[entry.model_type] = min(smallest.get(entry.model_type, (size, entry.name)), (size, entry.name))
    return [MODELS.get(kind, name) for kind, (_, name) in smallest.items()]


@cache
def usual() -> dict[str, Any]:
    return {name: USUAL.get(name, values[0]) for name, values in factors().items()}


def relevant(cell: Cell) -> Cell:
    """Returns a cell without the options that refine choices which it does not have."""
    meant = {name: cell[name] for name in factors() if name in cell}
    if len(planner.find_model(cell["model"]).architecture.tasks) == 1:
        meant.pop("task", None)
    for axis in AXES.values():
        for option in axis.refinements:
            if option.name in meant and not option.refines(meant):
                del meant[option.name]
    return meant


def arguments(cell: Cell) -> dict[str, Any]:
    """Returns the arguments of `planner.verify` and `planner.estimate`."""
    length = planner.find_model(cell["model"]).tokens_per_sample or SEQUENCE_LENGTH
    return {"gpu": GPU, "sequence_length": length, "micro_batch_size": MICRO_BATCH_SIZE, **cell}


def command(cell: Cell) -> str:
    options = {name: value for name, value in arguments(cell).items() if name != "model"}
    words = (f"--{name.replace('_', '-')} {value}" for name, value in options.items())
    return f"planner verify {cell['model']} {' '.join(words)}"


def refusal(cell: Cell) -> str | None:
    """Returns why a cell cannot be planned, or None if it can."""
    try:
        planner.estimate(**arguments(cell))
    except PlannerError as error:
        return error.message
    return None


# --- the record ---


class Recorded(NamedTuple):
    """Holds the recorded replay of a cell."""

    cell: Cell
    bytes: dict[str, int]
    """Peak bytes of tensors and cuBLAS workspaces, by phase."""
    refused: str | None
    """Reason why there is no replay; None if there is one."""


def read_record() -> list[Recorded]:
    lines = RECORD.read_text().splitlines() if RECORD.exists() else []
    return [
        Recorded({"outputs": "released", **x["cell"]}, x.get("bytes", {}), x.get("refused"))
        for x in map(json.loads, lines)
    ]


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
    for reason, number in Counter(r.refused for r in record if r.refused).most_common():
        print(f"not replayed ({number}): {reason}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replay", action="store_true", help="replay what is not covered yet")
    parser.add_argument("--cells", action="store_true", help="print the cells that would be replayed")
    options = parser.parse_args()
    known = read_record()
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
    if not options.cells:
        print_tables(read_record())
