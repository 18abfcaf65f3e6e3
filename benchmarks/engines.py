"""Measures how many trials optuna's samplers need to find the exhaustive optimum of the default space.

    python benchmarks/engines.py [number of seeds]

For every seed, a study runs until its best plan ranks as high as the exhaustive one, up to `MOST` trials.
"""

from __future__ import annotations

import statistics
import sys
from typing import NamedTuple

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, TracedModel
from planner.models import find_model
from planner.search import EngineSettings, Solver, search
from planner.search.candidate import Rank
from planner.search.studies import study as studies
from strategies import Engine, Sampler, Space, UpTo

SEEDS = 20
MOST = 400
SAMPLERS = (Sampler.TPE, Sampler.RANDOM, Sampler.BRUTE_FORCE)


class Problem(NamedTuple):
    model: str
    gpu: str
    gpus: int


PROBLEMS = (Problem("llama-2-7b", "A100-40GB", 1), Problem("llama-2-7b", "A100-80GB", 8), Problem("gpt2", "T4", 1))


def solver_of(problem: Problem) -> Solver:
    gpu = load_catalog().get(problem.gpu)
    memory = MemoryModel(TracedModel(find_model(problem.model).inventory, 1024), Cluster(gpu, problem.gpus))
    return Solver(memory, int(0.95 * gpu.memory_bytes), UpTo(16))


def trials_needed(space: Space, solver: Solver, best: Rank, sampler: Sampler, seed: int) -> int | None:
    """Returns the trials until a study finds a plan as good as the best, or None if it does not find one."""
    settings = EngineSettings(Engine.OPTUNA, sampler, MOST, seed=seed)
    return studies.trials_until(space, solver, settings, best)


def main(seeds: int) -> None:
    print("| problem | strategies | sampler | median trials | most | found |\n|---|---|---|---|---|---|")
    for problem in PROBLEMS:
        solver = solver_of(problem)
        space = Space.default(solver.cluster)
        found = search(space, solver)
        best = found.ranking.first(1)[0].rank
        for sampler in SAMPLERS:
            needed = [trials_needed(space, solver, best, sampler, seed) for seed in range(seeds)]
            hits = [n for n in needed if n is not None]
            name = f"{problem.model} on {problem.gpus} x {problem.gpu}"
            most = f"{statistics.median(hits):.0f} | {max(hits)}" if hits else "- | -"
            print(f"| {name} | {found.num_strategies} | {sampler} | {most} | {len(hits)} of {seeds} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS)
