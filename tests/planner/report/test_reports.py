"""Whole reports as a terminal shows them. UPDATE_SNAPSHOTS=1 stores new ones; read them before you commit them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from handmade import make_estimate, make_fit, make_plan, make_shortfall, make_single_method, rendered
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import RenderableType

from hardware import GPU, Link, Machine, PeakFlops
from planner.models import Foreign, find_model, recognize
from planner.records.plan import Run
from planner.report.catalog.choices import ChoicesReport
from planner.report.catalog.gpus import GPUCard, GPUList
from planner.report.catalog.machines import MachineCard, MachineList
from planner.report.catalog.models import ModelCard, ModelList, ReplayedCard
from planner.report.estimate import EstimateReport
from planner.report.fit.answer import FitReport
from planner.report.fit.to_run import takes
from strategies import AXES

LINK = Link(kind="pcie", bytes_per_second=15_750_000_000)
GPUS = tuple(
    GPU(
        name=name,
        aliases=("an alias",),
        vendor="nvidia",
        architecture="of tests",
        compute_capability=capability,
        memory_bytes=memory,
        memory_bandwidth_bytes_per_second=320_000_000_000,
        peak_flops=flops,
        gpu_link=LINK,
        host_link=LINK,
        gpus_per_node=8,
        source="a data sheet that says more about this GPU than fits into one line of a narrow terminal, as many do",
    )
    for name, capability, memory, flops in (
        ("Small", "7.5", 15_636_889_600, PeakFlops(fp32=8_100_000_000_000, fp16=65_000_000_000_000)),
        ("Large", "9.0", 85_045_870_592, PeakFlops(fp32=67 * 10**12, fp16=989 * 10**12, bf16=989 * 10**12)),
    )
)
MACHINES = (
    Machine(
        name="eight.large",
        provider="A cloud",
        gpu="Large",
        gpus=8,
        host_memory_bytes=2**41,
        network_bytes_per_second=400 * 10**9,
        price_per_hour_usd=55.04,
        price_date=date(2026, 11, 9),
        price_source="its price list",
        region="east",
        source="its documentation",
    ),
    Machine(name="one.small", provider="Another", gpu="Small", spot=True, source="said by a friend"),
)
MODELS = tuple(map(find_model, ("gpt2", "llama-3-8b", "qwen2.5-0.5b")))
REPLAYED = recognize("gemma-4-e2b")
assert isinstance(REPLAYED, Foreign)

REPORTS: dict[str, RenderableType] = {
    "fit": FitReport(make_fit()),
    "fit_on_16_gpus": FitReport(make_fit(ranks=16)),
    "fit_of_one_method": FitReport(make_single_method()),
    "fit_finds_nothing": FitReport(make_shortfall()),
    "fit_finds_nothing_on_a_tiny_gpu": FitReport(make_shortfall(budget=2.0)),
    "fit_finds_nothing_with_these_batches": FitReport(make_shortfall(budget=60.0)),
    "estimate": EstimateReport(make_estimate()),
    "estimate_does_not_fit": EstimateReport(make_estimate(ranks=8, budget_bytes=20 * 2**30, sharding="full_shard")),
    "gpus": GPUList(GPUS),
    "gpu": GPUCard(GPUS[0]),
    "machines": MachineList(MACHINES),
    "machine": MachineCard(MACHINES[0]),
    "models": ModelList(MODELS),
    "models_by_replays": ModelList((MODELS[0], REPLAYED)),
    "model": ModelCard(MODELS[1]),
    "choices": ChoicesReport(AXES["sharding"].options),
    "model_by_replays": ReplayedCard(REPLAYED),
    "stand_in": ModelCard(find_model("7B")),
}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", REPORTS)
def test_a_report_looks_as_stored(name: str, width: int, matches_snapshot: Callable[[str, str], None]) -> None:
    matches_snapshot(f"{name}_{width}", rendered(REPORTS[name], width))


@pytest.mark.parametrize("name", ["fit", "estimate"])
def test_a_terminal_without_unicode_gets_ascii(name: str, matches_snapshot: Callable[[str, str], None]) -> None:
    text = rendered(REPORTS[name], 80, encoding="ascii")
    assert text.isascii()
    matches_snapshot(f"{name}_ascii", text)


@pytest.mark.parametrize("name", REPORTS)
@given(width=st.integers(80, 220))
@settings(max_examples=25, deadline=None)
def test_no_line_is_wider_than_the_terminal_or_ends_in_blanks(name: str, width: int) -> None:
    for line in rendered(REPORTS[name], width).splitlines():
        assert len(line) <= width
        assert line == line.rstrip()


@pytest.mark.parametrize("width", [20, 40, 60])
@pytest.mark.parametrize("name", REPORTS)
def test_a_tiny_terminal_cuts_no_number(name: str, width: int) -> None:
    assert "…" not in rendered(REPORTS[name], width)


@pytest.mark.parametrize("name", REPORTS)
def test_colour_adds_nothing_but_colour(name: str) -> None:
    from rich.text import Text

    coloured = rendered(REPORTS[name], 100, force_terminal=True, color_system="standard")
    assert "\x1b[" in coloured
    assert "\n".join(map(str, map(Text.from_ansi, coloured.splitlines()))) + "\n" == rendered(REPORTS[name], 100)


def test_axes_on_which_plans_differ_become_columns() -> None:
    result = make_fit()
    plans = (make_plan("lora"), make_plan("lora", lora_rank=64, lora_targets=("q_proj", "v_proj"), attention="eager"))
    text = rendered(FitReport(result.model_copy(update={"plans": plans, "best_by_method": plans[:1]}), full=True), 160)
    heading = next(line for line in text.splitlines() if line.lstrip().startswith("#"))
    assert "LoRA" in heading
    assert "attention" in heading
    assert "rank 64 on q_proj,v_proj" in text
    assert "rest as plan 1" in text


def test_plans_that_say_nearly_the_same_are_shown_only_on_request() -> None:
    plans = (make_plan("lora"), make_plan("lora", lora_rank=64), make_plan("lora", checkpointing="none"))
    result = make_fit().model_copy(update={"plans": plans, "best_by_method": plans[:1]})

    def numbers(full: bool) -> list[str]:
        lines = rendered(FitReport(result, full=full), 160).splitlines()
        return [line.split()[0] for line in lines if line.split()[1:2] == ["lora"]]

    assert (numbers(full=False), numbers(full=True)) == (["1", "3"], ["1", "2", "3"])


def test_the_last_line_goes_on_with_the_plan_to_run() -> None:
    usual = make_plan("lora", 1, checkpointing="none")
    result = make_fit().model_copy(update={"usual": (usual,)})
    assert result.recommended == usual
    command = ("fit", "llama-2-7b", "--gpu", "A100-40GB", "--notes")
    assert rendered(FitReport(result, command), 120).splitlines()[-1] == (
        "  planner fit llama-2-7b --gpu A100-40GB --json | planner export - --to transformers --plan 5 -o run"
    )
    narrow = rendered(FitReport(result, command), 52).splitlines()
    assert narrow[-3:] == [
        "  planner fit llama-2-7b --gpu A100-40GB --json |",
        "    planner export - --to transformers --plan 5 \\",
        "    -o run",
    ]
    assert rendered(FitReport(result), 120).splitlines()[-1].startswith("  a step of 16 sequences")


def test_what_a_run_takes_has_the_range_of_its_steps() -> None:
    of_step = {"step_seconds_low": 8.0, "step_seconds_high": 12.0, "step_seconds": 10.0}
    time = make_plan().time.model_copy(update=of_step)
    plan = make_plan().model_copy(update={"run": Run(steps=360, seconds=3600.0 * 3, usd=300.0), "time": time})
    assert takes(plan) == "360 steps, 3.0 h (2.4-3.6 h), 300 USD (240-360)"
    unpriced = plan.model_copy(update={"run": Run(steps=360, seconds=3600.0 * 3)})
    assert takes(unpriced) == "360 steps, 3.0 h (2.4-3.6 h)"
    without = time.model_copy(update={"step_seconds_low": None, "step_seconds_high": None})
    assert takes(plan.model_copy(update={"time": without})) == "360 steps, 3.0 h, 300 USD"


def test_largest_batches_below_a_usual_one_are_told_their_bound() -> None:
    result, usual = make_fit(), make_plan("lora", 1, checkpointing="none")
    largest = result.plans[0]
    bound = f"largest effective batch in {largest.gradient_accumulation_steps} accumulation steps"
    for batch, is_told in ((largest.global_batch_size, False), (2 * largest.global_batch_size, True)):
        plan = usual.model_copy(update={"global_batch_size": batch})
        assert (bound in rendered(FitReport(result.model_copy(update={"usual": (plan,)})), 120)) is is_told


def test_rejections_without_a_smallest_plan_are_still_an_answer() -> None:
    result = make_shortfall().model_copy(update={"shortfall": None})
    assert "Nothing can run: every strategy was rejected." in rendered(FitReport(result), 80)


def test_a_quantization_that_all_plans_share_is_told_below_the_table() -> None:
    plans = (make_plan("qlora", quantization="nf4"), make_plan())
    text = rendered(FitReport(make_fit().model_copy(update={"plans": plans, "best_by_method": plans})), 120)
    assert "qlora: nf4" not in text  # it is that of plan 1, which is told in full
    others = make_fit().model_copy(update={"plans": plans[::-1], "best_by_method": plans})
    assert "qlora: LoRA rank 16 on all-linear, nf4" in rendered(FitReport(others), 120)
