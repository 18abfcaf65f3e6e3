"""Compares predicted step times with those that others measured.

    python benchmarks/throughput.py             # the tables
    python benchmarks/throughput.py --rows TEXT # each run whose name or source has the text
    python benchmarks/throughput.py --left-out  # each source by constants that it did not give

The step times are in benchmarks/published/data: those of Hugging Face's trainer in llm_fine_tuning_bench.csv and
fms_acceleration.yaml, all others in step_times.yaml; but those of a T4, which are in benchmarks/measured/t4.yaml.
Errors are of tokens per second, signed: +10% means that the planner says 10% more than was measured. A pair is two runs
of one source whose measured speeds differ by more than 5%; it is right if the planner puts the two in the same order.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, groupby
from operator import attrgetter

from published.sets import bench, fitcheck, fms
from published.throughput.left_out import left_out
from published.throughput.speed import Speed, ask
from published.throughput.step_times import Timed, timed

SETS: dict[str, Callable[[], list[Timed]]] = {
    "Step times": timed,
    bench.SOURCE: bench.timed,
    fms.SOURCE: fms.timed,
    fitcheck.SOURCE: fitcheck.timed,
}
"""What reads the runs of each set, by its name."""
FAR_APART = 1.05
"""Ratio of measured speeds from which on a pair has an order."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="TEXT", help="print each run whose name or source has the text")
    parser.add_argument("--left-out", action="store_true", help="predict each source by constants of the others")
    options = parser.parse_args()
    if options.left_out:
        speeds = left_out([ask(run) for read in SETS.values() for run in read()])
        print("\n".join(table(sorted(speeds, key=attrgetter("run.source")))))
        return
    for name, read in SETS.items():
        runs = read()
        if options.rows is not None:
            runs = [run for run in runs if options.rows in f"{run.source} {run.name}"]
        speeds = sorted((ask(run).speed() for run in runs), key=attrgetter("run.source"))
        if options.rows is not None:
            for found in speeds:
                print(row(found))
        if speeds:
            print(f"\n## {name}\n")
            print("\n".join(table(speeds)))


def row(found: Speed) -> str:
    run = found.run
    return f"{run.source:12} {run.name:52} {run.tokens_per_second:9.0f} {found.predicted:9.0f} {found.error:+6.1%}"


def table(speeds: Sequence[Speed]) -> list[str]:
    """Returns a Markdown table with a line for each source, and one for all."""
    lines = [
        "| source | runs | signed | median | 90% | within 25% | in range | pairs | pairs of a machine |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [line(source, list(found)) for source, found in groupby(speeds, attrgetter("run.source"))]
    return [*lines, line("all", speeds)]


def line(name: str, speeds: Sequence[Speed]) -> str:
    """Returns the line of some runs."""
    errors = sorted(abs(found.error) for found in speeds)
    signed = statistics.median(found.error for found in speeds)
    near = sum(error <= 0.25 for error in errors) / len(errors)
    ninetieth = errors[min(len(errors) - 1, int(0.9 * len(errors)))]
    of_source = _pairs(speeds, lambda run: run.source)
    of_machine = _pairs(speeds, lambda run: (run.source, run.machine))
    cells = [name, len(errors), f"{signed:+.1%}", f"{statistics.median(errors):.1%}", f"{ninetieth:.1%}", f"{near:.0%}"]
    cells.append(f"{sum(found.is_inside for found in speeds) / len(speeds):.0%}")
    return "| " + " | ".join(map(str, [*cells, of_source, of_machine])) + " |"


def _pairs(speeds: Iterable[Speed], group: Callable[[Timed], object]) -> str:
    """Returns the share of pairs of a group in the right order, with their number."""
    right = total = 0
    for a, b in combinations(speeds, 2):
        slow, fast = sorted((a, b), key=lambda found: found.run.tokens_per_second)
        if group(a.run) == group(b.run) and fast.run.tokens_per_second > FAR_APART * slow.run.tokens_per_second:
            total += 1
            right += fast.predicted > slow.predicted
    return f"{right / total:.0%} of {total:,}" if total else "-"


if __name__ == "__main__":
    sys.exit(main())
