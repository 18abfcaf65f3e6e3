"""Compares the planner with training runs that others published: allocated bytes, the driver's, and what fitted.

    python benchmarks/published_runs.py             # the tables
    python benchmarks/published_runs.py --rows TEXT # each run whose name has the text, with the reasons of differences
    python benchmarks/published_runs.py --replay    # replay requests that are not recorded yet, some seconds each

The sets are in benchmarks/published/data:

- fms_acceleration.yaml: torch's allocated bytes, and outcomes; fms_machines.csv: runs of it that were measured thrice
- llm_fine_tuning_bench.csv: the peak of NVML
- llm_foundry.csv: runs of which nothing is known but that they ran
- torchtitan.csv: the bytes that torch reserved
- field_reports.yaml: what users reported of single runs

Each run is asked as `planner estimate` is. "Planner" is its answer, also to whether the run fits: with the wrapping of
its torch under FSDP1, and of a GPU with the context that its machine had. Where nvidia-smi's number is a mean of GPUs,
so is the planner's; `estimate` says the larger one, of the first rank and of another. "Own libraries" adds what the
transformers of that time held beside today's, and what the run's own kernels did, where no choice says it: derived from
their source, per run and term (`--rows`). The driver's bytes are those of the replay with the same terms, for the
requests that are recorded in replays.jsonl.
"""

from __future__ import annotations

import argparse

from published.answer import ask
from published.replayed import replay_missing
from published.run import Run
from published.sets import bench, field, fms, fms_machines, foundry, torchtitan
from published.table import Line, details, table, within

SETS = {fms.SOURCE: fms.runs, bench.SOURCE: bench.runs}


def lines_of(runs: list[Run]) -> list[Line]:
    return [Line(run, ask(run) if run.unsaid is None else None) for run in runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", metavar="TEXT", help="print each run whose name has the text")
    parser.add_argument("--replay", action="store_true", help="replay the requests that are not recorded yet")
    options = parser.parse_args()
    for name, runs in SETS.items():
        if options.replay:
            replay_missing(runs())
        lines = lines_of([run for run in runs() if (options.rows or "") in run.name])
        print(f"\n## {name}\n")
        print("\n".join(table(lines) if options.rows is None else details(lines)))
        if options.rows is None and name == fms.SOURCE:
            print("\n" + "\n".join(within(lines)))
            for month in fms_machines.ASKED:
                print(f"\n{month.title()}'s runs. " + "\n".join(within(lines_of(fms_machines.runs(month)))))
    if options.rows is None:
        print(f"\n## {foundry.SOURCE}\n")
        print("\n".join(foundry.table()))
        print(f"\n## {torchtitan.SOURCE}\n")
        print("\n".join(torchtitan.table()))
    print("\n## Reports of single runs\n")
    print("\n".join(field.rows([report for report in field.reports() if (options.rows or "") in report.said])))


if __name__ == "__main__":
    main()
