"""Replays of a few runs, made here and now, beside what real GPUs reported (all: benchmarks/measured/replayed.py)."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[4] / "benchmarks" / "measured"

ALLOCATED = {"T4 sdpa": 0.005, "T4 eager": 0.02, "RTX-4080 sdpa": 0.02}
"""Largest relative error of allocated bytes."""

RESERVED = 0.05
"""Of reserved bytes, which depend on the order of allocations."""

CASES = [
    "t4-smollm2-135m-sdpa-none-b1-s4096",
    "t4-smollm2-135m-eager-none-b2-s512",
    "t4-tinyllama-1.1b-chat-v1.0-eager-none-b2-s1024",
    "t4-tinyllama-1.1b-chat-v1.0-sdpa-nf4-b2-s1024-4-t4-qlora",
    "canift-qwen2p5-1p5b-instruct-qlora-s1024-b1-nockpt",
]


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("replayed", FOLDER / "replayed.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
    return module


@pytest.mark.parametrize("name", CASES)
def test_the_replay_equals_what_a_gpu_reported(benchmark: Any, name: str) -> None:
    rig, case = next((rig, case) for rig, case in benchmark.cases() if case["id"].startswith(name))
    found = benchmark.columns(benchmark.run(rig, case))
    tolerance = ALLOCATED[f"{rig.gpu} {case['attention']}"]
    assert found["allocated"] == pytest.approx(case["allocated_mib"], rel=tolerance)
    assert found["reserved"] == pytest.approx(case["reserved_mib"], rel=RESERVED)


def test_threads_load_the_same_weights_in_another_order(benchmark: Any) -> None:
    name = "t4-smollm2-135m-sdpa-nf4-b2-s512"
    rig, case = next((rig, case) for rig, case in benchmark.cases() if case["id"].startswith(name))
    trace = benchmark.run(rig, case)
    threaded = benchmark.loading_orders.in_threads(trace, seed=0)
    before, now = (x.sections[0].events for x in (trace, threaded))
    assert now != before
    assert sorted(now, key=str) == sorted(before, key=str)
    reserved = benchmark.over_orders(trace)
    assert reserved["least_reserved"] <= case["reserved_mib"] <= reserved["most_reserved"]
