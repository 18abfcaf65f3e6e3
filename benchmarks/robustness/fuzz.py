"""Counts how many fuzzed command lines the planner answers or refuses without a failure.

python benchmarks/robustness/fuzz.py [command lines, 100,000 unless given] [first seed]

Runs `tests/faults/fuzz.py` once per processor, each with a seed of its own, and prints the count and every failure.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

FUZZER = Path(__file__).parents[2] / "tests" / "faults" / "fuzz.py"
NUMBER = 100_000
SUMMARY = re.compile(r"^(?P<runs>\d+) command lines, seed .*; (?P<failures>\d+) distinct failures$", re.MULTILINE)


def main(number: int, seed: int) -> int:
    """Runs the fuzzers and returns the number of distinct failures."""
    processes, start = os.cpu_count() or 1, time.monotonic()
    running = [
        subprocess.Popen(
            [sys.executable, str(FUZZER), "--number", str(-(-number // processes)), "--seed", str(seed + i)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(processes)
    ]
    runs = failures = 0
    for process in running:
        out, _ = process.communicate()
        print(out, end="")
        summary = SUMMARY.search(out)
        if summary is None:
            raise SystemExit(f"a fuzzer ended with {process.returncode} and no summary")
        runs, failures = runs + int(summary["runs"]), failures + int(summary["failures"])
    print(f"{runs:,} command lines, {failures} distinct failures, in {(time.monotonic() - start) / 60:.1f} min")
    return failures


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(main(*(given + [NUMBER, 0][len(given) :]))))
