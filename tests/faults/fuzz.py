"""Fuzzes the command line within one process: arguments, catalogs, search spaces, configurations, runs, plans.

    python tests/faults/fuzz.py --number 5000 --seed 0
    python tests/faults/fuzz.py --seconds 60 --seed fresh --kinds words,plan

Prints each distinct failure once, as small as it can be made; the exit code is 1 if there is one. Failures are: an exit
code other than 0, 1 and 2; a traceback; 2 without `error:` and `hint:`; text on the wrong stream; control characters;
more than 10 s of processor time or 100 s; 1 GB more memory; an answer that contradicts itself. Replays and the network
are cut off where they would begin.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from click.testing import CliRunner, Result
from contradictions import contradiction
from fuzz_cases import KINDS, PLANS, Case, case

import planner.cli.errors as errors
import planner.profiles.model
import planner.verification.replayed
import planner.verification.verify
from hardware import PlannerError
from planner.cli import main

SECONDS = 10
GROWTH_KIB = 1 << 20
MEMORY_BYTES = 6 << 30
SHRUNK_LINES = 200
"""Files of more lines are not made smaller."""


class Failure(NamedTuple):
    key: str
    """The same for failures of one cause."""
    details: str


class Hang(BaseException):
    """A run that took too long; no code catches it."""


caught: list[BaseException] = []
"""What the command line reported."""


def prepare() -> None:
    """Cuts off what a fuzzer must not start, and has errors noted."""

    def refuse(*_: object, **__: object) -> None:
        raise PlannerError("cut off by the fuzzer", "none")

    def note(error: BaseException) -> int:
        caught.append(error)
        return reported(error)

    def alarm(*_: object) -> None:
        raise Hang

    os.environ |= {"HF_HUB_OFFLINE": "1", "PLANNER_CACHE": tempfile.mkdtemp(), "COLUMNS": "80"}
    for name in ("PLANNER_CATALOG", "PLANNER_PLUGINS"):
        os.environ.pop(name, None)
    planner.verification.verify.verify_candidate = planner.verification.replayed.verify_candidate = (
        planner.profiles.model.introduce
    ) = refuse
    reported, errors.report = errors.report, note
    gc.freeze = lambda: None  # a command's last act; here it would keep every run's garbage
    signal.signal(signal.SIGALRM, alarm)
    signal.signal(signal.SIGPROF, alarm)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    PLANS.extend(plans())


def plans() -> Iterator[dict[str, Any]]:
    """Answers, of which plan files are made."""
    for asked in (
        ["fit", "gpt2", "--gpu", "T4"],
        ["estimate", "gpt2", "--gpu", "T4"],
        ["fit", "2T", "--gpu", "T4"],
        ["estimate", "1B", "--gpu", "H100", "--gpus", "8", "--finetuning", "lora", "--lora-targets", "q_proj,v_proj"],
    ):
        yield json.loads(CliRunner().invoke(main, [*asked, "--json"]).stdout)


@contextmanager
def limited() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    signal.setitimer(signal.ITIMER_REAL, 10 * SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def failure(tried: Case, folder: Path) -> Failure | None:
    """What is wrong with a run, or None."""
    file = folder / f"file{tried.suffix}"
    if tried.content is not None:
        file.write_bytes(tried.content)
    arguments = [str(file) if argument == "FILE" else argument for argument in tried.arguments]
    caught.clear()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        with limited():
            run = CliRunner().invoke(main, arguments, input=tried.content)
    except Hang:
        last = traceback.format_tb(sys.exc_info()[2])[-1].strip().splitlines()[0]
        return Failure(f"hang in {last}", f"> {SECONDS} s")
    if resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before > GROWTH_KIB:
        return Failure("memory grew by more than 1 GB", "")
    return _of_the_end(run) or _of_the_text(run) or _of_the_answer(tried.arguments, run)


def _of_the_end(run: Result) -> Failure | None:
    if caught and run.exit_code == 70:
        frames = traceback.extract_tb(caught[-1].__traceback__)
        own = [f for f in frames if any(part in f.filename for part in ("/planner/", "/hardware/", "/strategies/"))]
        at = (own or frames)[-1]
        name = type(caught[-1]).__name__
        return Failure(f"{name} at {at.filename.split('site-packages/')[-1]}:{at.lineno}", str(caught[-1])[:200])
    if run.exception is not None and not isinstance(run.exception, SystemExit):
        text = "".join(traceback.format_exception(run.exception))[-400:]
        return Failure(f"raised {type(run.exception).__name__}", text)
    if run.exit_code not in (0, 1, 2) or "Traceback" in run.stderr:
        return Failure(f"exit {run.exit_code}", run.stderr[-300:])
    return None


def _is_reading(text: str) -> bool:
    """Whether `check` refuses a run: it prints what it read all the same, so the answer is on stdout."""
    return (
        text.startswith("refused: ")
        or '"refused": [' in text
        or " is refused: " in text
        or "passed over: " in text
        or "broken: " in text
    )


def _of_the_text(run: Result) -> Failure | None:
    is_help = run.stderr.startswith("  $ ")
    if run.exit_code == 2 and run.stdout and not run.stderr and _is_reading(run.stdout):
        return None
    if run.exit_code == 2 and not (is_help or run.stderr.startswith("error: ")):
        return Failure("2 without error:", run.stderr[:300])
    if run.exit_code == 2 and not (is_help or "\nhint: " in run.stderr):
        return Failure(f"no hint: {' '.join(run.stderr.split()[1:5])}", run.stderr[:200])
    if bool(run.stdout) == (run.exit_code == 2) or bool(run.stderr) != (run.exit_code == 2):
        return Failure("stdout and stderr are mixed", run.stdout[:100] + run.stderr[:100])
    if any(not c.isprintable() and c != "\n" for c in run.output):
        return Failure("control characters are printed", repr(run.output[:200]))
    return None


def _of_the_answer(arguments: list[str], run: Result) -> Failure | None:
    asks = {"--json"} <= set(arguments) and not {"--help", "-h"} & set(arguments)
    if run.exit_code == 2 or not asks or arguments[0] not in ("fit", "estimate"):
        return None
    wrong = contradiction(run.stdout, run.exit_code, is_sorted="nsga2" not in arguments)
    return Failure(wrong, run.stdout[:100]) if wrong else None


def smaller(tried: Case, key: str, folder: Path) -> Case:
    """The same failure with fewer arguments, and with fewer lines of the file."""

    def fails(other: Case) -> bool:
        found = failure(other, folder)
        return found is not None and found.key == key

    for width in (2, 1):
        at = 1
        while at < len(tried.arguments):
            shorter = tried._replace(arguments=tried.arguments[:at] + tried.arguments[at + width :])
            tried, at = (shorter, at) if fails(shorter) else (tried, at + 1)
    lines = (tried.content or b"").splitlines(keepends=True)
    at = 0
    while at < len(lines) < SHRUNK_LINES:
        fewer = lines[:at] + lines[at + 1 :]
        lines, at = (fewer, at) if fails(tried._replace(content=b"".join(fewer))) else (lines, at + 1)
    return tried._replace(content=b"".join(lines)) if tried.content is not None else tried


def fuzz(number: int, seconds: float, seed: int, kinds: list[str]) -> int:
    """Runs as many cases as there are, or as there is time for; returns how many distinct failures there were."""
    found: dict[str, tuple[Failure, Case]] = {}
    counts: Counter[str] = Counter()
    runs: Counter[str] = Counter()
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as name:
        for i in range(number):
            if time.monotonic() > end:
                break
            kind = kinds[i % len(kinds)]
            tried = case(random.Random(f"{seed}/{i}"), kind)
            wrong = failure(tried, Path(name))
            runs[kind] += 1
            if wrong is None:
                continue
            counts[wrong.key] += 1
            if wrong.key not in found:
                print(f"[{i}] {wrong.key}: {wrong.details}\n    {tried!r}"[:600], flush=True)
                is_slow = "hang" in wrong.key or "memory" in wrong.key
                found[wrong.key] = wrong, tried if is_slow else smaller(tried, wrong.key, Path(name))
    print(f"{runs.total()} command lines, seed {seed}: {dict(runs)}; {len(found)} distinct failures")
    for key, (wrong, tried) in found.items():
        print(f"- {counts[key]} x {key}: {wrong.details!r}\n    planner {tried.arguments!r} FILE={tried.content!r}")
    return len(found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=10**9, help="command lines")
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--seed", default="0", help="a number, or fresh")
    parser.add_argument("--kinds", default=",".join(KINDS))
    options = parser.parse_args()
    prepare()
    seed = random.SystemRandom().randrange(2**32) if options.seed == "fresh" else int(options.seed)
    sys.exit(bool(fuzz(options.number, options.seconds, seed, options.kinds.split(","))))
