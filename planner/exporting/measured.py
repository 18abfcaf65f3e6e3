"""Provides `measured`, which compares what exported scripts measured with what their plans predicted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from hardware.errors import FileError
from hardware.files.yaml_text import read_bytes
from planner.records.measurement import Deviation, MeasuredLine, MeasuredRun, Measurement

WARM_UP = 2
"""Steps in which states and caches are made; scripts/measure.py leaves them out of the seconds."""
EXACT = 0.014
"""Furthest peak from a replay of its plan: docs/accuracy.md."""


class MeasuredFileError(FileError):
    """Reports all problems of a file of measurements."""

    subject = "the measurements"
    way_out = "the file is measured.jsonl, which a script of `planner export --to transformers` or pytorch writes"


def measured(file: str | Path) -> Measurement:
    """Compares what exported scripts measured with what their plans predicted.

    Args:
        file: The path of a measured.jsonl, which has a line for each run, or `-` for standard input.

    Raises:
        MeasuredFileError: It cannot be read, or a line is none of such a script's.
    """
    runs, problems = [], []
    lines = read_bytes(file, MeasuredFileError).decode().split("\n")
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            runs.append(run_of(MeasuredLine.model_validate_json(text)))
        except ValidationError as error:
            what = error.errors()[0]
            problems.append(f"{file}:{number}: {'.'.join(map(str, what['loc'])) or 'the line'}: {what['msg']}")
    if not runs and not problems:
        problems = [f"{file}: has no runs"]
    if problems:
        raise MeasuredFileError(problems)
    return Measurement(runs=tuple(runs))


def run_of(line: MeasuredLine) -> MeasuredRun:
    """Returns a run with its deviations, and with what was not as planned."""
    pairs: list[tuple[str, float, float | None]] = [
        (kind, getattr(line.predicted, f"{kind}_bytes"), getattr(line, f"{kind}_bytes"))
        for kind in ("allocated", "reserved", "process")
    ]
    if line.gpu is not None and line.steps:
        pairs.append(("step", line.predicted.step_seconds, line.step_seconds))
    deviations = tuple(
        Deviation(name=name, predicted=planned, measured=found, difference=planned / found - 1)
        for name, planned, found in pairs
        if found
    )
    return MeasuredRun(line=line, deviations=deviations, notes=tuple(_notes(line, deviations)))


def _notes(line: MeasuredLine, deviations: tuple[Deviation, ...]) -> Iterator[str]:
    predicted = line.predicted
    if line.gpu is None:
        yield "it ran without a GPU: there are no peaks, and its seconds are of a CPU"
    if line.global_batch_size != predicted.global_batch_size:
        yield (
            f"the effective batch was {line.global_batch_size}, not {predicted.global_batch_size}: "
            "micro-batch, accumulation or the number of GPUs are not those of the plan"
        )
    if predicted.torch and line.torch and line.torch.partition("+")[0] != predicted.torch:
        yield f"torch was {line.torch}, and the plan assumes {predicted.torch}: requirements.txt has its versions"
    if line.steps <= WARM_UP:
        yield f"of {line.steps} steps, all make states and caches: seconds count from step {WARM_UP + 1}"
    seconds = [d for d in deviations if d.name == "step"]
    for step in seconds:
        if not predicted.step_seconds_low <= step.measured <= predicted.step_seconds_high:
            yield "a step took a time outside of the range in which 9 of 10 cases lie"
    if any(abs(d.difference) > EXACT for d in deviations if d.name == "allocated"):
        yield (
            "torch's peak is further from the plan than replays are: rows of another length, or a changed file? "
            "`planner check train.yaml accelerate.yaml --gpu ...` plans what the files say now"
        )
