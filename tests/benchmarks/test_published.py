"""The planner beside training runs that others published, with what the transformers of that time did differently."""

from __future__ import annotations

import statistics
from collections import Counter

import pytest
import yaml
from published import bench, field, fms, foundry
from published.answer import ask
from published.losses import loss_of
from published.run import Engine, Run
from published.table import Line

from planner.models import find_model
from strategies import Loss


def test_no_row_is_left_out() -> None:
    assert Counter(run.ran for run in fms.runs()) == {True: 153, False: 59}
    assert len(bench.runs()) == 164
    assert len({run.name for run in fms.runs()}) == 212


def test_what_is_allocated_after_training_has_the_words_that_were_added() -> None:
    """Full fine-tuning has two more copies of the model than LoRA, which has adapters and their states in fp32."""
    after = {row["id"]: row.get("allocated_after_bytes") for row in yaml.safe_load(fms.FILE.read_text())["rows"]}
    model = find_model("mistral-7b-v0.1")
    hidden, kv = model.architecture.hidden_size, 1024
    adapters = 32 * 16 * (4 * 2 * hidden - 2 * (hidden - kv))  # of q and o, and of k and v
    full = after["main/full-finetuning/mistral-7b/none/1gpu/b4"] - 3 * 2 * model.num_parameters
    lora = after["main/standard-peft/mistral-7b/none/1gpu/b4"] - 2 * model.num_parameters - 3 * 4 * adapters
    assert full - lora == 2 * fms.ADDED_WORDS["mistral-7b"] * (2 * hidden * 2)  # embeddings and head in bf16


@pytest.mark.parametrize(
    ("transformers", "loss"),
    [("4.45.2", Loss.TRANSFORMERS_4_45), ("4.48.1", Loss.TRANSFORMERS_4_48), ("4.52.4", Loss.FULL)],
)
def test_the_loss_of_a_version_is_a_choice(transformers: str, loss: Loss) -> None:
    assert loss_of(transformers) is loss


ASKED: dict[str, Line] = {}
"""What the planner says of each run; nothing is replayed."""


def line_of(run: Run) -> Line:
    key = repr(run)
    if key not in ASKED:
        ASKED[key] = Line(run, ask(run))
    return ASKED[key]


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    """The runs of fms-acceleration."""
    return [line_of(run) for run in fms.runs()]


@pytest.mark.slow
def test_allocated_bytes_follow_from_the_sources_of_that_time(lines: list[Line]) -> None:
    errors = sorted(abs(error) for line in lines for error in line.errors(lambda answer: answer.derived))
    assert len(errors) == 153
    assert statistics.median(errors) <= 0.0002
    assert errors[int(0.9 * len(errors))] <= 0.005
    assert errors[-1] <= 0.018


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "method", "tolerance"),
    [
        (Engine.ONE_GPU, "full", 1e-5),
        (Engine.FSDP1, "full", 1e-5),
        (Engine.FSDP1, "lora", 1e-4),
        (Engine.FSDP1, "qlora nf4-double", 0.0015),
    ],
)
def test_runs_that_need_no_terms_are_what_the_planner_says(
    lines: list[Line], engine: Engine, method: str, tolerance: float
) -> None:
    found = [line for line in lines if (line.run.engine, line.run.method) == (engine, method)]
    errors = [
        error
        for line in found
        if line.run.kernels == "transformers"
        for error in line.errors(lambda answer: answer.planner)
    ]
    assert errors
    assert max(map(abs, errors)) <= tolerance


@pytest.mark.slow
def test_estimates_alone_are_near_the_bytes_of_runs_without_other_kernels(lines: list[Line]) -> None:
    found = [line for line in lines if line.run.kernels == "transformers"]
    errors = sorted(abs(error) for line in found for error in line.errors(lambda answer: answer.planner))
    assert len(errors) == 31
    assert statistics.median(errors) <= 0.0001
    assert errors[int(0.9 * len(errors))] <= 0.03
    assert errors[-1] <= 0.045


@pytest.mark.slow
def test_estimates_say_what_ran_and_what_was_out_of_memory(lines: list[Line]) -> None:
    right = Counter(line.run.ran for line in lines if line.fits is line.run.ran)
    assert right == {True: 148, False: 59}
    wrong = {line.run.kernels for line in lines if line.fits is not line.run.ran}
    assert wrong == {"Triton kernels"}  # which take less than the nearest choice


def device_errors(runs: list[Run]) -> tuple[int, str, str]:
    """Number of errors of the driver's bytes by the recorded replays, their median and the worst of them, unsigned."""
    errors = [abs(error) for run in runs if run.unsaid is None for error in line_of(run).device_errors()]
    return len(errors), f"{statistics.median(errors):.2%}", f"{max(errors):.2%}"


@pytest.mark.slow
def test_the_driver_s_bytes_are_as_far_from_the_replays_as_the_page_says() -> None:
    """Errors are what they are: what changes them, for better or worse, changes docs/accuracy.md too.

    Mixtral under FSDP1 is left out: it took gigabytes more than its replay, for reasons that are not derived.
    """
    one = [run for run in bench.runs() if run.engine is Engine.ONE_GPU]
    sharded = [run for run in bench.runs() if run.engine is Engine.FSDP1 and run.model != "mixtral-8x7b"]
    plain = [run for run in fms.runs() if run.engine is Engine.FSDP1 and run.kernels == "transformers"]
    found = {
        "one GPU": device_errors(one),
        "FSDP1": device_errors(sharded),
        **{f"nvidia-smi, {m}": device_errors([run for run in plain if run.method == m]) for m in ("full", "lora")},
    }
    assert found == {
        "one GPU": (17, "0.80%", "2.07%"),
        "FSDP1": (34, "3.40%", "19.03%"),
        "nvidia-smi, full": (2, "5.06%", "5.56%"),
        "nvidia-smi, lora": (2, "6.72%", "7.92%"),
    }


@pytest.mark.slow
def test_the_driver_s_bytes_on_one_gpu_are_those_of_an_estimate() -> None:
    lines = [line_of(run) for run in bench.runs() if run.engine is Engine.ONE_GPU and run.unsaid is None]
    errors = [abs(error) for line in lines for error in line.errors(lambda answer: answer.planner)]
    assert (len(errors), f"{statistics.median(errors):.2%}", f"{max(errors):.2%}") == (20, "0.82%", "2.21%")


@pytest.mark.slow
def test_reports_of_single_runs_are_judged_right_but_for_those_that_say_why_not() -> None:
    asked = [report for report in field.reports() if not report.full]
    assert len(asked) == 61
    assert [report.said for report in asked if (report.answer.fits is report.ran) == bool(report.wrong)] == []
    assert sum(bool(report.wrong) for report in asked) == 8


@pytest.mark.slow
def test_the_longest_sequences_that_ran_fill_their_gpus() -> None:
    filled = [(report.device_bytes, report.answer.device_bytes) for report in field.reports() if report.full]
    assert len(filled) == 7
    assert all(total is not None and abs(said / total - 1) <= 0.025 for total, said in filled)


@pytest.mark.slow
def test_the_pretraining_runs_of_llm_foundry_fit_as_they_did() -> None:
    found = list(foundry.verdicts())
    assert len(found) == 106
    assert sum(verdict.memory.fits for verdict in found) >= 103
    assert all(verdict.fits_with_its_norms for verdict in found)
