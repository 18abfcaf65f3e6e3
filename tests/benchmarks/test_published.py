"""The planner beside training runs that others published, with what the transformers of that time did differently."""

from __future__ import annotations

import statistics
from collections import Counter
from pathlib import Path

import pytest
import yaml
from published.answer import ask
from published.libraries.contexts import Contexts
from published.libraries.losses import loss_of
from published.run import Engine, Run
from published.sets import bench, field, fms, fms_machines, foundry
from published.sets.fms_machines import Month
from published.table import Line, near

from hardware import GIB, MIB
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


def more(earlier: Month, later: Month, *, gptq: bool) -> list[int]:
    """What nvidia-smi saw more of runs that allocated the same, within 1 MiB, unless the GPU was full."""
    return sorted(
        peak[later][1] - peak[earlier][1]
        for name, peak in fms_machines.peaks().items()
        if abs(peak[later][0] - peak[earlier][0]) < MIB and peak[later][1] < 70 * GIB
        if ("gptq" in name and "2gpu" in name) is gptq
    )


def test_the_later_machine_took_a_gib_more_of_each_context_and_its_kernels_are_most_of_it() -> None:
    """Loaders of GPTQ make a context of each of two processes on either GPU."""
    one, two = (more(Month.NOVEMBER, Month.FEBRUARY, gptq=gptq) for gptq in (False, True))
    assert statistics.median(one) == 1165 * MIB
    assert (len(one), sum(1157 * MIB <= num_bytes <= 1165 * MIB for num_bytes in one)) == (21, 11)
    assert (one[0] // MIB, one[-1] // MIB) == (1034, 1542)
    assert [num_bytes // MIB for num_bytes in two] == [2142, 2417]
    assert Contexts(eager=True).kernels_bytes / statistics.median(one) == pytest.approx(0.712, abs=0.001)


def test_quantized_weights_on_the_meta_device_reserve_more_of_what_is_allocated_all_the_same() -> None:
    found = fms_machines.peaks()
    rose = {name: found[name][Month.NOVEMBER][1] - found[name][Month.OCTOBER][1] for name in found}
    name = "accelerated-peft-bnb/mixtral-8x7b/accelerated-peft-bnb-foak/{}"
    before, after = (found[name.format("2gpu/b2")][month][0] for month in (Month.OCTOBER, Month.NOVEMBER))
    assert abs(after - before) < MIB
    assert rose[name.format("2gpu/b2")] == 10158 * MIB
    assert rose[name.format("1gpu/b4")] == 72 * MIB


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
    assert right == {True: 151, False: 59}
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


def measured(lines: list[Line]) -> list[Line]:
    """The runs whose GPUs nvidia-smi read and that were not full."""
    return [line for line in lines if line.driver_error is not None]


def nearest(lines: list[Line]) -> tuple[int, int, int]:
    """Number of runs by nvidia-smi, and of those within 8% as asked and with what their own libraries kept."""
    found = measured(lines)
    return len(found), near(found, lambda answer: answer.planner), near(found, lambda answer: answer.derived)


@pytest.mark.slow
def test_what_nvidia_smi_saw_under_fsdp1_is_as_near_as_the_page_says(lines: list[Line]) -> None:
    sharded = [line for line in lines if line.run.engine is Engine.FSDP1]
    assert nearest(sharded) == (81, 71, 80)
    later = [line for line in sharded if line.run.name.startswith("main/")]
    of_months = {
        "October 2024": [line_of(run) for run in fms_machines.runs(Month.OCTOBER)],
        "November 2024": [line_of(run) for run in fms_machines.runs(Month.NOVEMBER)],
        "the 54 runs of transformers 4.45": [line for line in sharded if line not in later],
        "February 2025": later,
    }
    found = {name: nearest(of_month) for name, of_month in of_months.items()}
    assert list(found.values()) == [(27, 27, 27), (27, 25, 27), (54, 47, 53), (27, 24, 27)]
    page = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
    for name, cells in found.items():
        row = next(line for line in page.splitlines() if line.startswith(f"| {name}"))
        assert row.endswith("| {} | {} | {} |".format(*cells))
    largest = [line_of(line.run._replace(of_all=False)) for line in measured(sharded)]
    assert near(largest, lambda answer: answer.planner) == 61
    assert "mean in 61 of the 81 runs" in page
    assert near(measured(later), lambda answer: answer.built_in) == 16
    assert "with the catalog's own 16 of the 27 are within 8%" in page


@pytest.mark.slow
def test_what_nvidia_smi_saw_follows_from_options_where_these_say_all_kernels(lines: list[Line]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "accuracy.md").read_text()
    assert "Of the 16 runs of each month whose kernels and loss an option says, `estimate` is within 8% of all." in page
    for asked in (lines, *([line_of(run) for run in fms_machines.runs(month)] for month in fms_machines.ASKED)):
        said = [line for line in measured(asked) if line.run.engine is Engine.FSDP1 and not line.run.nearest]
        assert len(said) == near(said, lambda answer: answer.planner) == 16


@pytest.mark.slow
def test_wrapping_decides_runs_that_were_out_of_memory_where_no_headroom_is_left() -> None:
    names = [run for run in fms.runs() if run.model == "llama-2-70b" and run.name.endswith("2gpu/b4") and not run.ran]
    fit = [ask(run._replace(request={**run.request, "headroom": 0.0})).planner.fits for run in names]
    assert fit == [False] * len(names)
    earlier = [{n: v for n, v in run.request.items() if n != "wrapping"} | {"headroom": 0.0} for run in names]
    today = [ask(run._replace(request=request)).planner.fits for run, request in zip(names, earlier, strict=True)]
    assert today.count(True) == 3


@pytest.mark.slow
def test_the_driver_s_bytes_on_one_gpu_are_those_of_an_estimate() -> None:
    lines = [line_of(run) for run in bench.runs() if run.engine is Engine.ONE_GPU and run.unsaid is None]
    errors = [abs(error) for line in lines for error in line.errors(lambda answer: answer.planner)]
    assert (len(errors), f"{statistics.median(errors):.2%}", f"{max(errors):.2%}") == (20, "0.82%", "2.21%")


@pytest.mark.slow
def test_reports_of_single_runs_are_judged_right_but_for_those_that_say_why_not() -> None:
    asked = [report for report in field.reports() if not report.full]
    assert len(asked) == 146
    assert [report.said for report in asked if (report.answer.fits is report.ran) == bool(report.wrong)] == []
    assert sum(bool(report.wrong) for report in asked) == 7


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
