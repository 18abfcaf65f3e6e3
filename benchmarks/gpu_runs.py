"""Compares the planner with a real GPU: memory, its limits, step times, and the rates of the GPU itself.

    python benchmarks/gpu_runs.py --minutes 8 --out FILE.jsonl [--device cuda|cpu] [--only memory|rates|steps|edges]
    python benchmarks/gpu_runs.py --report FILE.jsonl...

The first form measures the most informative cases first, writes a line of JSON after each case, and continues a file
that exists. The second form compares the lines with the replay and the memory model, on any machine.

It needs torch, transformers, accelerate, peft, pydantic, PyYAML and click. bitsandbytes, torchao, flash-attn,
liger-kernel and TRL are used where they are installed; cases that need what the machine does not have are recorded as
skipped. On a machine without a network, install the small packages that it lacks from wheels:
click, PyYAML, pydantic (with pydantic-core, annotated-types, typing-inspection).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

sys.path.insert(0, str(Path(__file__).parents[1]))  # of a checkout that is not installed

from gpu.case import Case, Kind, Line, Outcome, Result, line_of, read_lines

SEED = 0
SLACK = 4.0
"""Multiple of its expected time that a case may take, within the time that is left."""

END_SECONDS = 5.0
"""Time reserved for the summary at the end."""


def measure(device: str, kinds: frozenset[Kind], minutes: float, out: Path) -> None:
    """Measures cases until the time is over, and appends a line to the file after each."""
    from gpu.cases import cases
    from gpu.forked import run_forked
    from gpu.measures import import_libraries, measures_on

    end = time.monotonic() + 60 * minutes - END_SECONDS
    import_libraries()
    measures = measures_on(device)
    facts = facts_of(device)
    done = {line.case.key for line in read_lines(out.read_text())} if out.exists() else set()
    with open_lines(out) as file:
        for case in cases(device, kinds):
            left = end - time.monotonic()
            if case.key in done or left < case.seconds:
                continue
            start = time.monotonic()
            result = run_forked(case, measures[case.kind], min(left, SLACK * case.seconds))
            seconds = time.monotonic() - start
            file.write(line_of(case, result, facts, seconds) + "\n")
            file.flush()
            os.fsync(file.fileno())
            print(f"{seconds:6.1f} s  {case.kind:7} {case.name}: {_said(result)}", flush=True)
    summary(read_lines(out.read_text()))


def open_lines(out: Path) -> TextIO:
    """Opens the file to append to it, without a last line that is incomplete because the process was killed."""
    text = out.read_text() if out.exists() else ""
    if text and not text.endswith("\n"):
        out.write_text(text[: text.rfind("\n") + 1])
    return out.open("a")


def facts_of(device: str) -> Mapping[str, Any]:
    """Returns what every line says about the machine. A separate process finds it out, since that touches the GPU."""
    from gpu.forked import run_forked
    from gpu.measures import machine

    case = Case(Kind.RATES, "machine", {"device": device})
    result = run_forked(case, machine, 60)
    if result.outcome is not Outcome.MEASURED:
        raise SystemExit(f"no {device} can be used here: {result.found['reason']}")
    return {"device": device, "seed": SEED, "machine": dict(result.found)}


def _said(result: Result) -> str:
    if result.outcome is not Outcome.MEASURED:
        return f"{result.outcome}: {result.found.get('reason', '')}"[:150]
    shown = result.found.get("step_seconds") or result.found.get("ended") or ""
    return f"{result.outcome} {shown}".strip()


def summary(lines: list[Line]) -> None:
    """Prints the number of cases of each kind by their outcome."""
    print(f"\n| kind | {' | '.join(Outcome)} |\n|---|{'---|' * len(Outcome)}")
    for kind in Kind:
        found = [line.result.outcome for line in lines if line.case.kind is kind]
        print(f"| {kind} | {' | '.join(str(found.count(outcome)) for outcome in Outcome)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--only", choices=[kind.value for kind in Kind], action="append")
    parser.add_argument("--report", type=Path, nargs="+", metavar="FILE")
    options = parser.parse_args()
    if options.report:
        from gpu.report import report

        for line in report([line for file in options.report for line in read_lines(file.read_text())]):
            print(line, flush=True)
    elif options.out:
        kinds = frozenset(map(Kind, options.only)) if options.only else frozenset(Kind)
        measure(options.device, kinds, options.minutes, options.out)
    else:
        parser.error("give --out FILE.jsonl to measure, or --report FILE.jsonl to compare")


if __name__ == "__main__":
    main()
