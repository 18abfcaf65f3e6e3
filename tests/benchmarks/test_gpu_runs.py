"""The command that measures on a GPU, tried in small on a CPU: its file is valid whatever happens to a case."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from gpu.case import Case, Kind, Outcome, read_lines
from gpu.cases import cases
from gpu.edges import edge_of, footprint_of, played
from gpu.forked import NotHereError, run_forked
from gpu.report import report
from gpu.training import strategy_of
from gpu_runs import measure

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"

COMMAND = [sys.executable, str(BENCHMARKS / "gpu_runs.py"), "--device", "cpu"]
CASE = Case(Kind.MEMORY, "a case", {}, 1)


def measured(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, "--out", str(out), *options], capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with everything that the CPU measures."""
    out = tmp_path_factory.mktemp("gpu") / "results.jsonl"
    measured(out, "--minutes", "5")
    return out


def test_every_case_has_a_line_with_its_request_and_where_it_was_measured(results: Path) -> None:
    lines = read_lines(results.read_text())
    assert [line.case.key for line in lines] == [case.key for case in cases("cpu", frozenset(Kind))]
    outcomes = Counter(line.result.outcome for line in lines)
    assert outcomes == {Outcome.MEASURED: 12, Outcome.SKIPPED: 2}
    for line in lines:
        assert line.facts["seed"] == 0
        assert line.facts["machine"]["versions"]["torch"] == torch.__version__
    skipped = [line.result.found["reason"] for line in lines if line.result.outcome is Outcome.SKIPPED]
    assert skipped == ["flash_attn is not installed", "the bytes of a context are of a GPU"]


def test_a_file_goes_on_where_it_ends(results: Path, tmp_path: Path) -> None:
    lines = results.read_text().splitlines(keepends=True)
    part = tmp_path / "part.jsonl"
    part.write_text("".join(lines[:-2]) + lines[-2][:40])  # as a kill while writing leaves it
    measured(part, "--minutes", "2")
    whole, resumed = read_lines(results.read_text()), read_lines(part.read_text())
    assert [line.case.key for line in resumed] == [line.case.key for line in whole]
    assert part.read_text().splitlines()[: len(lines) - 2] == [line.rstrip("\n") for line in lines[:-2]]


def test_a_killed_run_leaves_whole_lines_and_no_process(tmp_path: Path) -> None:
    out = tmp_path / "killed.jsonl"
    running = subprocess.Popen([*COMMAND, "--out", str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out.exists() and out.read_text().count("\n") >= 2):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    running.send_signal(signal.SIGKILL)
    running.wait()
    assert len(read_lines(out.read_text())) >= 2


def test_without_time_nothing_is_begun(tmp_path: Path) -> None:
    out = tmp_path / "none.jsonl"
    measure("cpu", frozenset(Kind), 0.01, out)
    assert out.read_text() == ""


def test_the_kinds_asked_for_are_measured_alone(tmp_path: Path) -> None:
    out = tmp_path / "rates.jsonl"
    measured(out, "--only", "rates", "--minutes", "2")
    assert {line.case.kind for line in read_lines(out.read_text())} == {Kind.RATES}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no cuda can be used here: "):
        measure("cuda", frozenset(Kind), 8, tmp_path / "none.jsonl")
    assert not (tmp_path / "none.jsonl").exists()


def out_of_memory(_: Case) -> dict[str, Any]:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nmore")


def dies(_: Case) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return {}


def exits(_: Case) -> dict[str, Any]:
    os._exit(7)


def hangs(_: Case) -> dict[str, Any]:
    time.sleep(60)
    return {}


def fails(_: Case) -> dict[str, Any]:
    raise SystemExit("enough")


def lacks(_: Case) -> dict[str, Any]:
    raise NotHereError("nothing is here")


@pytest.mark.parametrize(
    ("case_runs", "outcome", "reason"),
    [
        (out_of_memory, Outcome.OUT_OF_MEMORY, "CUDA out of memory. Tried to allocate 2.00 GiB."),
        (dies, Outcome.DIED, "ended by SIGSEGV"),
        (exits, Outcome.DIED, "ended with 7 and no answer"),
        (hangs, Outcome.TOO_LONG, "no answer within 1 s"),
        (fails, Outcome.FAILED, "SystemExit: enough"),
        (lacks, Outcome.SKIPPED, "nothing is here"),
    ],
)
def test_what_happens_to_a_case_costs_only_that_case(case_runs: Any, outcome: Outcome, reason: str) -> None:
    result = run_forked(CASE, case_runs, 1)
    assert (result.outcome, result.found) == (outcome, {"reason": reason})


def test_the_report_of_a_cpu_finds_the_replay_where_the_real_run_was(results: Path) -> None:
    text = list(report(read_lines(results.read_text())))
    (errors,) = [line.strip() for line in text if "replay, allocated: median" in line]
    assert errors.startswith("replay, allocated: median 0.000%, worst -0.0")
    assert not [line for line in text if " !" in line]


def test_the_report_of_a_gpu_marks_what_has_to_be_explained(results: Path) -> None:
    """Lines as a GPU would give them: what the replay says, and then more than that."""
    (line, *_) = [line for line in read_lines(results.read_text()) if line.case.kind is Kind.MEMORY]
    gpu = played("H100-80GB-SXM", 80)
    footprint = footprint_of(line.case.request, gpu)
    moments = {moment.value: peak for moment, peak in footprint.moments(2).items()}
    machine = {"gpu": "NVIDIA H100 80GB HBM3", "total_memory": gpu.memory_bytes, "versions": {}}
    for factor, marked in ((1.0, False), (1.02, True)):
        peak = round(moments["optimizer_step"] * factor)
        phases = {"optimizer": {"allocated_bytes": peak, "reserved_bytes": 0}}
        result = line.result._replace(found={"phases": phases})
        text = "\n".join(report([line._replace(result=result, facts={"machine": machine})]))
        assert (" !" in text) == marked


def test_the_cases_of_a_gpu_are_as_many_as_were_wanted_and_can_all_be_planned() -> None:
    found = cases("cuda", frozenset(Kind))
    assert len({case.key for case in found}) == len(found)
    numbers = Counter(case.kind for case in found)
    assert numbers[Kind.MEMORY] >= 40
    assert numbers[Kind.EDGES] >= 16
    assert numbers[Kind.STEPS] >= 25
    for case in found:
        json.dumps(case.request)
        if case.kind is not Kind.RATES:
            strategy_of(case.request)


def test_an_edge_has_a_possible_micro_batch_below_an_impossible_one() -> None:
    for case in cases("cuda", frozenset({Kind.EDGES})):
        edge = edge_of(case.request)
        footprint = footprint_of(case.request, played(case.request["gpu"], case.request["gib"]))
        assert edge.largest < edge.impossible
        assert footprint.allocated_bytes(edge.impossible) > edge.limit_bytes
        assert footprint.allocated_bytes(edge.impossible - 1) <= edge.limit_bytes
        assert footprint.reserved_bytes(edge.largest) <= edge.limit_bytes
