"""Replays of small models beside the same steps run for real on this machine's CPU."""

import importlib.util
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from rich.console import Console

from planner import ContradictionError, InvalidChoiceError, PlannerError, Verification, verify
from planner.allocator.native import CachingAllocator
from planner.replay.real.cuda_memory import CudaCounters, Peak
from planner.replay.recording.serve import serve
from planner.replay.recording.trace import Event, Phase, Section, Trace
from planner.report.verify import VerifyReport
from planner.verification import measure
from strategies import Fsdp1, Fsdp2, Zero

TOLERANCE = 0.001
"""Largest relative difference between replay and real run, in every phase."""


SMALL = {"gpu": "A100-80GB", "sequence_length": 32, "precision": "fp32"}


def _benchmark() -> ModuleType:
    file = Path(__file__).parents[4] / "benchmarks" / "real_runs.py"
    spec = importlib.util.spec_from_file_location("real_runs", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real_runs"] = module
    spec.loader.exec_module(module)
    return module


BENCHMARK = _benchmark()
ALONE = [case for case in BENCHMARK.CASES if case.ranks == 1]
SHARDED = [case for case in BENCHMARK.CASES if case.ranks > 1 and not isinstance(case.sharding, Zero)]
BY_DEEPSPEED = [case for case in BENCHMARK.CASES if isinstance(case.sharding, Zero)]
FIRST = {case.model: case for case in reversed(ALONE)}
"""One case of each model; the benchmark runs them all."""


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Threads that wait for each other slow a busy machine down, and tiny matrices do not need them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("case", FIRST.values(), ids=str)
def test_the_replay_of_every_phase_equals_the_real_run(case: Any) -> None:
    assert BENCHMARK.compare(case).differences == pytest.approx(
        dict.fromkeys((Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER), 0.0), abs=TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [next(c for c in reversed(SHARDED) if isinstance(c.sharding, Fsdp2))], ids=str)
def test_rank_0_of_a_pretended_group_equals_that_of_two_processes(case: Any) -> None:
    assert BENCHMARK.compare(case).differences == pytest.approx(
        dict.fromkeys((Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER), 0.0), abs=TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in SHARDED if isinstance(case.sharding, Fsdp1)], ids=str)
def test_flat_parameters_of_a_pretended_group_equal_those_of_two_processes(case: Any) -> None:
    assert BENCHMARK.compare(case).differences == pytest.approx(
        dict.fromkeys((Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER), 0.0), abs=TOLERANCE
    )


@pytest.mark.slow
@pytest.mark.parametrize("case", BY_DEEPSPEED, ids=str)
def test_a_replay_of_deepspeed_equals_two_processes_with_it(case: Any) -> None:
    assert BENCHMARK.compare(case).differences == pytest.approx(
        dict.fromkeys((Phase.FORWARD, Phase.BACKWARD, Phase.OPTIMIZER), 0.0), abs=TOLERANCE
    )


def test_what_is_left_out_is_much_smaller_than_a_phase() -> None:
    """It is listed by kernel, and cannot hide a tensor that lives longer than its kernel."""
    comparison = BENCHMARK.compare(BENCHMARK.Case("gpt2", "bf16-true", attention="eager"))
    assert set(comparison.left_out) == {"aten::add", "aten::mul", "aten::addmm", "aten::bmm", "aten::mm"}
    assert max(comparison.left_out.values()) < 0.1 * min(comparison.real[p] for p in comparison.differences)


def test_verify_runs_the_step_on_the_cpu_and_keeps_it_in_the_certificate() -> None:
    result = verify("pythia-70m", **SMALL, device="cpu")
    assert result.measured is not None
    assert result.measured.device == "cpu"
    assert {name: phase.difference for name, phase in result.measured.phases.items()} == pytest.approx(
        dict.fromkeys(result.phases, 0.0), abs=TOLERANCE
    )
    assert Verification.model_validate_json(result.model_dump_json()) == result
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(VerifyReport(result))
    assert "run for real on cpu, MiB  real run" in console.export_text()


def test_without_cuda_the_real_run_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(PlannerError, match="finds no CUDA device here") as refused:
        verify("pythia-70m", **SMALL, device="cuda")
    assert "--device cpu" in str(refused.value.hint)


def test_a_model_too_large_for_this_machine_is_refused_with_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "free_bytes", lambda: 100 * 2**20)
    with pytest.raises(PlannerError, match=r"needs [\d,]+ MiB, and this machine has 100 MiB free"):
        verify("pythia-70m", **SMALL, device="cpu")


@pytest.mark.parametrize(
    ("device", "choices", "message"),
    [
        ("cpu", {"finetuning": "qlora", "precision": "bf16-mixed"}, "stand-in"),
        ("cpu", {"gpus": 2, "sharding": "no_shard"}, "2 GPUs cannot run for real"),
        ("cuda", {"gpus": 2, "sharding": "full_shard"}, "2 GPUs cannot run for real"),
    ],
)
def test_what_cannot_run_for_real_is_refused(device: str, choices: dict[str, Any], message: str) -> None:
    with pytest.raises(ContradictionError, match=message):
        verify("pythia-70m", **{**SMALL, **choices}, device=device)


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InvalidChoiceError, match="unknown device 'gpu'") as refused:
        verify("pythia-70m", **SMALL, device="gpu")
    assert "replay, cuda, cpu" in str(refused.value.hint)


class Cuda:
    """Counters that say what a phase was told to allocate."""

    def __init__(self) -> None:
        self.peak = self.resets = 0

    def reset_peak_memory_stats(self) -> None:
        self.peak, self.resets = 0, self.resets + 1

    def synchronize(self) -> None:
        pass

    def max_memory_allocated(self) -> int:
        return self.peak

    def max_memory_reserved(self) -> int:
        return 2 * self.peak


def test_cuda_counters_keep_the_largest_peak_of_each_phase_of_the_last_step() -> None:
    cuda = Cuda()
    counters = CudaCounters(cuda)
    steps = [(Phase.LOADING, 0, 900), (Phase.FORWARD, 1, 800)]
    steps += [(Phase.FORWARD, 2, 10), (Phase.BACKWARD, 2, 30), (Phase.FORWARD, 2, 20), (Phase.BACKWARD, 2, 25)]
    for phase, step, peak in [*steps, (Phase.OPTIMIZER, 2, 5)]:
        counters.enter(phase, step)
        cuda.peak = peak
    counters.close()
    assert counters.peaks == {
        Phase.FORWARD: Peak(20, 40),
        Phase.BACKWARD: Peak(30, 60),
        Phase.OPTIMIZER: Peak(5, 10),
    }
    assert cuda.resets == 5


def test_a_trace_is_served_phase_by_phase_as_cuda_counts_it() -> None:
    """The second phase begins with what the first left: 2 MiB allocated, and its 20 MiB segment reserved."""
    mib = 2**20
    first = [Event(1, 2 * mib, None), Event(2, 4 * mib, None), Event(2, -4 * mib, None)]
    sections = [Section(Phase.FORWARD, 1, first), Section(Phase.BACKWARD, 1, [Event(3, 3 * mib, None)])]
    assert serve(Trace(sections, {}), CachingAllocator()).phases == {
        Phase.FORWARD: (6 * mib, 20 * mib),
        Phase.BACKWARD: (5 * mib, 20 * mib),
    }
