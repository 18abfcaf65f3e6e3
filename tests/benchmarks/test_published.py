"""The planner beside training runs that others published, with what the transformers of that time did differently."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest
from published import bench, fms, then
from published.answer import ask
from published.run import Engine, Run
from published.table import Line

from planner.memory import Moment

END, START = Moment.END_OF_FORWARD, Moment.START_OF_BACKWARD


def test_no_row_is_left_out() -> None:
    assert Counter(run.ran for run in fms.runs()) == {True: 153, False: 59}
    assert len(bench.runs()) == 164
    assert len({run.name for run in fms.runs()}) == 212


@pytest.mark.parametrize(
    ("transformers", "triton", "at_end", "at_start"),
    [("4.48.1", False, 14, 12), ("4.45.2", False, 12, 12), ("4.48.1", True, 10, 8), ("4.45.2", True, 8, 8)],
)
def test_the_loss_of_a_version_holds_bytes_per_word(
    transformers: str, triton: bool, at_end: int, at_start: int
) -> None:
    term = then.loss(transformers, 32_000, triton=triton)
    assert term.per_token == {END: (at_end - 10) * 32_000, START: (at_start - 12) * 32_000}


def on_one_gpu(runs: list[Run]) -> list[Run]:
    return [run for run in runs if run.engine is Engine.ONE_GPU and run.unsaid is None]


@pytest.mark.slow
def test_allocated_bytes_on_one_gpu_follow_from_the_sources_of_that_time() -> None:
    errors = [
        error for run in on_one_gpu(fms.runs()) for error in Line(run, ask(run)).errors(lambda answer: answer.derived)
    ]
    assert len(errors) == 46
    assert statistics.median(map(abs, errors)) <= 0.0001
    assert max(map(abs, errors)) <= 0.0025


@pytest.mark.slow
def test_runs_that_need_no_terms_are_what_the_planner_says() -> None:
    full = [run for run in on_one_gpu(fms.runs()) if run.method == "full" and run.kernels == "transformers" and run.ran]
    assert [run.allocated_bytes for run in full] == pytest.approx(
        [ask(run).planner.allocated_bytes for run in full], rel=1e-5
    )


@pytest.mark.slow
def test_the_driver_s_bytes_on_one_gpu_are_those_of_the_replay() -> None:
    errors = [error for run in on_one_gpu(bench.runs()) for error in Line(run, ask(run)).device_errors()]
    assert statistics.median(map(abs, errors)) <= 0.01
    assert max(map(abs, errors)) <= 0.025


@pytest.mark.slow
def test_what_ran_on_one_gpu_is_said_to_fit() -> None:
    runs = on_one_gpu(bench.runs())
    assert all(Line(run, ask(run)).fits for run in runs)
