"""Checks that 200 kills do no harm to 20 shared studies, half of them in SQLite and half in PostgreSQL.

python benchmarks/robustness/kills.py [studies] [kills of each]

Two or three processes work on each study. At random moments one is killed and another one started; at last all may
finish. A finished trial must never be lost or change, the study must have exactly the requested number of completed
trials, and no process may end because of another. Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "faults"))

from kills import CANDIDATES, kill_writers
from postgres import server

STUDIES, KILLS = 20, 10
ENGINES = (("tpe", 150), ("random", 200), ("nsga2", 150), ("brute-force", 200), (None, CANDIDATES))


def main(studies: int, kills: int) -> int:
    """Runs the studies and returns how many things were wrong."""
    wrong = total = 0
    print("| study | database | sampler | processes | kills | completed | seconds | wrong |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, server() as postgres:
        for i in range(studies):
            sampler, trials = ENGINES[i // 2 % len(ENGINES)]
            database, processes = ("sqlite", "postgresql")[i % 2], 2 + (i // 10) % 2
            url = postgres.new_database() if i % 2 else f"sqlite:///{folder}/{i}.db"
            options = ["--engine", "optuna", "--sampler", sampler, "--trials", str(trials)] if sampler else []
            start = time.monotonic()
            outcome = kill_writers(url, options, trials, kills, random.Random(i), at_once=processes)
            if len(outcome.plans) != 1:
                outcome.wrong.append(f"{len(outcome.plans)} different answers")
            cells = [i + 1, database, sampler or "exhaustive", processes, outcome.kills, outcome.completed]
            said = "; ".join(outcome.wrong) or "nothing"
            print(f"| {' | '.join(map(str, cells))} | {time.monotonic() - start:.0f} | {said} |", flush=True)
            wrong, total = wrong + len(outcome.wrong), total + outcome.kills
    print(f"\n{total} kills, {wrong} things wrong")
    return wrong


if __name__ == "__main__":
    given = [int(argument) for argument in sys.argv[1:]]
    sys.exit(bool(main(*(given + [STUDIES, KILLS][len(given) :]))))
