"""Measures how fast the planner starts and searches, in ratios to its libraries, so that a busy machine cancels out.

python benchmarks/speed.py
"""

from __future__ import annotations

import compileall
import resource
import statistics
import subprocess
import sys
import time

import hardware
import planner
import strategies
from hardware import Cluster, load_catalog
from planner import sweep
from planner.memory import MemoryModel, TracedModel
from planner.models import find_model
from planner.search import Solver, search
from strategies import ALL_LINEAR, Allocator, Attention, Finetuning, Optimizer, Space, UpTo

RUNS = 9
FIT = [sys.executable, "-m", "planner", "fit", "llama-7b", "--gpu", "A100-40GB", "--json"]
NATIVE = [*FIT, "--allocator", "native"]
REPORT = FIT[:-1]
MACHINES = [sys.executable, "-m", "planner", "fit", "llama-7b", "--gpu", "any", "--json"]
HELP = [sys.executable, "-m", "planner", "--help"]
LIBRARIES = [sys.executable, "-c", "import click, yaml, pydantic\nclass First(pydantic.BaseModel): x: int"]
"""Imports the planner's libraries; pydantic imports most of itself only when the first model class is created.

PyYAML is one of them, although a command that reads no file of a user's does not import it."""
DRAWING = [*LIBRARIES[:-1], f"import rich.console, rich.table, rich.text\n{LIBRARIES[-1]}"]
"""Imports what draws reports as well."""
LARGE_OPTIMIZERS = (
    *(Optimizer.ADAMW, Optimizer.ADAMW_FOREACH, Optimizer.ADAMW_8BIT, Optimizer.PAGED_ADAMW_8BIT),
    *(Optimizer.ADAFACTOR, Optimizer.LION, Optimizer.SGD, Optimizer.SGD_MOMENTUM),
    *(Optimizer.LION_8BIT, Optimizer.ADAMW_8BIT_TORCHAO, Optimizer.ADAMW_4BIT),
)
SWEPT = """llama-2-7b llama-2-13b llama-3-8b llama-3-70b qwen2.5-0.5b qwen2.5-1.5b qwen2.5-7b qwen2.5-14b qwen2.5-32b
qwen2.5-72b qwen3-8b qwen3-14b mistral-7b gemma-2-9b gemma-3-4b phi-4 pythia-1b olmo-2-7b smollm3-3b gemma-2-2b"""
CLICK = [sys.executable, "-c", "import click"]


def seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def compare(name: str, command: list[str], libraries: list[str], limit_seconds: float) -> None:
    """Runs a command and the imports of its libraries in turn, so that the same load slows both; prints medians.

    Where PyYAML is among the libraries, the ratio to the others alone stands beside.
    """
    others = [*libraries[:-1], libraries[-1].replace(" yaml,", "")]
    commands = (command, libraries, others) if others != libraries else (command, libraries)
    rounds = [[seconds(one) for one in commands] for _ in range(RUNS + 1)][1:]
    ours, theirs, *_ = (statistics.median(column) for column in zip(*rounds, strict=True))
    ratio, *beside = (statistics.median(of[0] / of[i] for of in rounds) for i in range(1, len(commands)))
    told = f"{ours:6.3f} s, at most {limit_seconds:.2f} wanted; {ratio:.2f} x its libraries ({theirs:.3f} s)"
    print(f"{name:24} {told}", *(f"{one:.2f} x those without PyYAML" for one in beside), sep=", ")


def search_speed(gpus: int) -> None:
    gpu = load_catalog().get("A100-40GB")
    times, strategies = [], 0
    for _ in range(RUNS):
        cluster = Cluster(gpu, gpus)
        memory = MemoryModel(TracedModel(find_model("llama-7b").inventory, 2048), cluster)
        found = search(Space.default(cluster), Solver(memory, int(0.95 * gpu.memory_bytes), UpTo(16)))
        times.append(found.seconds)
        strategies = found.num_strategies
    median = statistics.median(times)
    rate = strategies / median
    print(f"search on {gpus} GPU(s)        {1000 * median:6.1f} ms for {strategies} strategies, {rate:,.0f} per second")


def catalog_speed() -> None:
    """Loads the built-in catalog and finds one GPU."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        load_catalog().get("A100")
        times.append(time.perf_counter() - start)
    print(f"a GPU of the catalog     {1000 * statistics.median(times):6.1f} ms, at most 8 wanted")


def large_space() -> None:
    """Searches more than a million strategies, most of them alike but for numbers that cost memory when they grow."""
    gpu = load_catalog().get("A100-40GB")
    cluster = Cluster(gpu)
    space = Space.default(cluster)._replace(
        finetuning=(Finetuning.FREEZE, Finetuning.LORA, Finetuning.QLORA),
        lora_rank=tuple(range(1, 2049)),
        trained_blocks=tuple(range(1, 33)),
        lora_targets=(("q_proj", "v_proj"), ALL_LINEAR),
        attention=(Attention.SDPA, Attention.EAGER),
        allocator=(Allocator.NATIVE, Allocator.EXPANDABLE),
        optimizer=LARGE_OPTIMIZERS,
    )
    memory = MemoryModel(TracedModel(find_model("llama-7b").inventory, 2048), cluster)
    found = search(space, Solver(memory, int(0.95 * gpu.memory_bytes), UpTo(16)))
    rate = found.num_strategies / found.seconds
    print(f"a large space {found.seconds:17.2f} s for {found.num_strategies:,} strategies, {rate:,.0f} per second")


def sweep_speed() -> None:
    """Sweeps 20 models over all GPUs at four lengths, in seconds of processors, which other work does not change."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = sweep(SWEPT.split(), gpu="any", sequence_length=(256, 512, 1024, 2048))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"a sweep of 20 models     {used:6.1f} s of processors for {len(found.rows):,} rows, at most 120 wanted")


def compile_packages() -> None:
    """Compiles the packages to bytecode, as pip does, since a checkout may have none or an old one."""
    for package in (hardware, strategies, planner):
        compileall.compile_dir(package.__path__[0], quiet=1)


if __name__ == "__main__":
    compile_packages()
    compare("planner fit --json", FIT, LIBRARIES, 0.40)
    compare("planner fit", REPORT, DRAWING, 0.40)
    compare("planner fit, native", NATIVE, LIBRARIES, 0.40)
    compare("planner fit --gpu any", MACHINES, LIBRARIES, 1.00)
    compare("planner --help", HELP, CLICK, 0.12)
    catalog_speed()
    for gpus in (1, 8):
        search_speed(gpus)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(f"largest process of these {peak / 1024:6.0f} MB, at most 120 wanted")
    large_space()
    sweep_speed()
