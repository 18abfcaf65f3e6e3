"""Tests of the ranking of machines, against a search on each of them alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hardware import Catalog, load_catalog
from planner import ContradictionError, MachineRanking, PlannerError, RequestError, fit, fit_machines
from planner.cli import main
from planner.problem.sites import are_several, sites_of
from strategies import Objective

NAMES = ("T4", "A10G", "H100", "RTX-3090", "MI300X", "P100")


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)
    return load_catalog()


def named(sites: list) -> list[str]:  # type: ignore[type-arg]
    return [f"{number} x {site.gpus} x {site.name}" for site, number in sites]


def test_groups_stand_for_what_the_catalog_has(catalog: Catalog) -> None:
    assert len(sites_of("any", catalog, None, 1)) == len(catalog)
    assert len(sites_of("machines", catalog, None, 1)) == len(catalog.machines)
    assert named(sites_of("lambda", catalog, 1, 1))[0] == "1 x 1 x gpu_1x_a10"
    assert {site.machine.provider for site, _ in sites_of("AWS, RunPod", catalog, 8, 1)} == {"AWS", "RunPod"}
    assert sites_of("DigitalOcean", catalog, 3, 1) == []


def test_several_nodes_are_of_the_largest_count_and_nothing_is_asked_for_twice(catalog: Catalog) -> None:
    assert named(sites_of("T4,Tesla-T4", catalog, (8, 1, 4), (2, 1))) == [
        "1 x 1 x T4",
        "1 x 4 x T4",
        "1 x 8 x T4",
        "2 x 8 x T4",
    ]
    assert named(sites_of(["p5.48xlarge", "T4"], catalog, (4, 8), 1)) == [
        "1 x 8 x p5.48xlarge",
        "1 x 4 x T4",
        "1 x 8 x T4",
    ]
    with pytest.raises(RequestError, match="gpus is 2, but p5"):
        sites_of("p5.48xlarge", catalog, (2, 4), 1)
    with pytest.raises(RequestError, match="nodes is 0, not a positive whole number"):
        sites_of("T4", catalog, None, (1, 0))
    with pytest.raises(PlannerError, match="unknown GPU 'T5'"):
        sites_of("T4,T5", catalog, None, 1)


@pytest.mark.parametrize(
    ("gpu", "gpus", "nodes", "several"),
    [
        ("T4", None, 1, False),
        ("T4", 8, 2, False),
        ("p5.48xlarge", None, 1, False),
        ("24GiB", None, 1, False),
        ("nothing", None, 1, False),
        ("T4,A100", None, 1, True),
        ("any", None, 1, True),
        ("aws", None, 1, True),
        ("T4", (1, 2), 1, True),
        ("T4", 8, (1, 2), True),
    ],
)
def test_several_machines_are_told_from_one(
    gpu: str, gpus: object, nodes: object, several: bool, catalog: Catalog
) -> None:
    assert are_several(gpu, gpus, nodes, catalog) is several  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"global_batch_size": 64},
        {"finetuning": "full", "max_accumulation": 4},
        {"objective": "throughput"},
        {"objective": "memory"},
        {"objective": "throughput", "samples": "1M", "deadline": "24h", "sequence_length": 512},
    ],
)
@pytest.mark.parametrize("gpus", [1, 4])
def test_each_machine_has_the_plan_that_a_search_on_it_alone_finds(
    options: dict,
    gpus: int,
    catalog: Catalog,  # type: ignore[type-arg]
) -> None:
    result = fit_machines("qwen2.5-1.5b", gpu=NAMES, gpus=gpus, top=99, **options)
    found = {machine.gpu: machine.plan for machine in result.machines}
    for name in NAMES:
        alone = fit("qwen2.5-1.5b", gpu=name, gpus=gpus, top=1, **options)
        if not alone.plans:
            assert alone.request.gpu not in found
        elif alone.plans[0].strategy.allocator != "native":  # whose memory a search on one machine serves
            assert found[alone.request.gpu] == alone.plans[0]
    if not options:
        batches = [machine.plan.global_batch_size for machine in result.machines]
        assert batches == sorted(batches, reverse=True)
    if options.get("objective") == "throughput":
        speeds = [machine.plan.time.tokens_per_second for machine in result.machines]
        assert speeds == sorted(speeds, reverse=True)
    assert result.fitting == len(result.machines)


def test_the_smallest_the_fastest_and_the_cheapest_are_marked(catalog: Catalog) -> None:
    result = fit_machines("llama-2-7b", gpu=("T4", "L4", "H100", "A16"), finetuning="lora", top=1)
    assert (result.asked, len(result.machines)) == (4, 1)
    assert result.smallest
    assert result.fastest
    assert result.cheapest
    assert (result.smallest.gpu, result.fastest.gpu) == ("L4", "H100-80GB-SXM")
    everything = fit_machines("llama-2-7b", gpu=("T4", "L4", "H100", "A16"), finetuning="lora", top=9).machines
    priced = [machine for machine in everything if machine.plan.usd_per_million_tokens is not None]
    assert result.cheapest.name == min(priced, key=lambda machine: machine.plan.usd_per_million_tokens or 0).name
    tokens_per_hour = 3600 * result.cheapest.plan.time.tokens_per_second
    assert result.cheapest.price_per_hour_usd
    expected = result.cheapest.price_per_hour_usd / tokens_per_hour * 1e6
    assert result.cheapest.plan.usd_per_million_tokens == pytest.approx(expected)


def test_an_unknown_price_is_said_and_never_the_cheapest(catalog: Catalog) -> None:
    result = fit_machines("gpt2", gpu=("A16", "A2"))
    assert result.cheapest is None
    assert result.unpriced == 2
    assert "no price is known of 2 of 2 machines: a catalog of yours can say it." in result.notes


def test_a_ranking_survives_a_round_trip_through_json_and_names_a_command_that_works(catalog: Catalog) -> None:
    result = fit_machines("gpt2", gpu="AWS", gpus=4, nodes=(1, 2), precision="fp16-mixed", top=3)
    assert MachineRanking.model_validate(json.loads(result.model_dump_json())) == result
    assert result.machines[0].command.startswith("planner fit gpt2 --gpu g")
    assert "--precision fp16-mixed" in result.machines[0].command
    assert repr(result).startswith("<MachineRanking: gpt2 fits on 8 of 8 machines, best 2 x g")
    assert result.machines[0].command in str(result)


def test_nothing_fits_is_an_answer(catalog: Catalog) -> None:
    result = fit_machines("llama-3-70b", gpu=("T4", "L4"), finetuning="full")
    assert (result.machines, result.smallest, result.fitting) == ((), None, 0)
    assert "Nothing fits on any of 2 machines." in str(result)
    with pytest.raises(RequestError, match="the catalog has no such machine with so many GPUs"):
        fit_machines("gpt2", gpu="DigitalOcean", gpus=3)


def test_the_cheapest_within_a_deadline_comes_first_and_the_price_of_the_run_is_said(catalog: Catalog) -> None:
    asked = {"finetuning": "lora", "sequence_length": 512, "samples": "10M", "deadline": "24h", "objective": "cost"}
    result = fit_machines("qwen2.5-7b", gpu="machines", top=99, **asked)  # type: ignore[arg-type]
    runs = [machine.plan.run for machine in result.machines]
    prices = [run.usd for run in runs if run is not None]
    assert len(prices) == len(runs) > 3
    assert prices == sorted(prices, key=lambda price: price or 0)
    assert all(run is not None and run.seconds <= 24 * 3600 for run in runs)
    assert result.refused == {"no price is known": 3}


def test_machines_that_cannot_divide_the_batch_are_left_out_and_counted(catalog: Catalog) -> None:
    result = fit_machines("gpt2", gpu="T4", gpus=(1, 3, 4), global_batch_size=8)
    assert sorted(machine.gpus for machine in result.machines) == [1, 4]
    assert result.refused == {"a global batch of 8 cannot be divided over 3 GPUs": 1}
    with pytest.raises(ContradictionError, match="a global batch of 8 cannot be divided over 7 GPUs"):
        fit_machines("gpt2", gpu="T4", gpus=(3, 7), global_batch_size=8)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--gpu", "T4,L4"), 0, "2 of 2 machines fit"),
        (("--gpu", "any", "--top", "3"), 0, "planner fit gpt2 --gpu"),
        (("--gpu", "T4", "--gpus", "1,2", "--json"), 0, '"smallest"'),
        (("--gpu", "T4,L4", "--verify"), 2, "--verify is for one machine, not for several"),
        (("--gpu", "T4,L4", "--pareto"), 2, "--pareto is for one machine, not for several"),
        (("--gpu", "T4,L4", "--engine", "optuna"), 2, "--engine is for one machine, not for several"),
        (("--gpu", "T4", "--gpus", "1,two"), 2, "--gpus is 'two', not a whole number"),
        (("--gpu", "A16,A2", "--objective", "cost"), 2, "error: no price is known"),
    ],
)
def test_the_command_ranks_where_several_machines_are_asked_for(
    arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = CliRunner().invoke(main, ["fit", "gpt2", *arguments])
    assert result.exit_code == code
    assert said in result.stdout + result.stderr


def test_a_command_names_the_catalog_file_that_its_machine_is_in(tmp_path: Path, catalog: Catalog) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("machines: {box: {base: g4dn.metal, provider: us}}")
    (box,) = fit_machines("gpt2", gpu="us", catalog=file).machines
    assert box.name == "box"
    result = CliRunner().invoke(main, box.command.split()[1:])
    assert result.exit_code == 0, result.stderr
    assert "on box: 8 x T4" in result.stdout


def test_machines_that_would_do_but_for_the_deadline_are_counted_apart() -> None:
    result = fit_machines("gpt2", gpu=("T4", "A10G"), samples="10M", deadline="1h")
    assert not result.machines
    assert result.exceeding == {"takes longer than the deadline": 2}
    assert not fit_machines("llama-3-70b", gpu="T4", finetuning="full", samples=9, deadline="1h").exceeding


def test_machines_within_a_budget_are_ranked_by_price() -> None:
    asked: dict[str, Any] = {"gpu": ("T4", "A10G", "A100-40GB"), "finetuning": "lora", "tokens": "10M"}
    within = fit_machines("gpt2", **asked, budget=50)
    assert within.request.objective is Objective.COST
    assert within.machines == fit_machines("gpt2", **asked, budget=50, objective="cost").machines
