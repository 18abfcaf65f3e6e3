"""How fast the planner starts and searches, as ratios of medians within one run, so that a busy machine cancels out.

python benchmarks/speed.py
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time

from hardware import Cluster, load_catalog
from planner.memory import MemoryModel, Traced
from planner.models import find_model
from planner.search import Solver, search
from strategies import Space, UpTo

RUNS = 9
FIT = [sys.executable, "-m", "planner", "fit", "llama-7b", "--gpu", "A100-40GB", "--json"]
HELP = [sys.executable, "-m", "planner", "--help"]
LIBRARIES = [sys.executable, "-c", "import click, yaml, pydantic\nclass First(pydantic.BaseModel): x: int"]
"""pydantic imports most of itself when the first model is made."""
CLICK = [sys.executable, "-c", "import click"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(name: str, command: list[str], other: list[str], limit_seconds: float) -> None:
    """Both in turn, so that what slows one slows the other."""
    pairs = [(seconds(command), seconds(other)) for _ in range(RUNS + 1)][1:]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name:24} {ours:6.3f} s, at most {limit_seconds:.2f} wanted; {ratio:.2f} x its libraries ({theirs:.3f} s)")


def search_speed(gpus: int) -> None:
    gpu = load_catalog().get("A100-40GB")
    times, strategies = [], 0
    for _ in range(RUNS):
        cluster = Cluster(gpu, gpus)
        memory = MemoryModel(Traced(find_model("llama-7b").inventory, 2048), cluster)
        found = search(Space.default(cluster), Solver(memory, int(0.95 * gpu.memory_bytes), UpTo(16)))
        times.append(found.seconds)
        strategies = found.num_strategies
    median = statistics.median(times)
    rate = strategies / median
    print(f"search on {gpus} GPU(s)        {1000 * median:6.1f} ms for {strategies} strategies, {rate:,.0f} per second")


if __name__ == "__main__":
    compare("planner fit --json", FIT, LIBRARIES, 0.40)
    compare("planner --help", HELP, CLICK, 0.12)
    for gpus in (1, 8):
        search_speed(gpus)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"largest process          {peak / 1024:6.0f} MB, at most 120 wanted")
