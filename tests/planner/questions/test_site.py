"""Tests of what a request means by its GPU."""

import json
from pathlib import Path

import pytest

from hardware import load_catalog
from planner import Catalog, RequestError, estimate, fit
from planner.problem.site import Site
from planner.records.plan_file import arguments_of


@pytest.fixture
def catalog(monkeypatch: pytest.MonkeyPatch) -> Catalog:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)
    return load_catalog()


def test_a_machine_sets_gpu_and_count_and_a_gpu_is_one_unless_more_are_asked_for(catalog: Catalog) -> None:
    assert Site.of("p5.48xlarge", catalog, None) == (catalog.get("H100"), 8, catalog.machine("p5.48xlarge"))
    assert Site.of("p5.48xlarge", catalog, 8).name == "p5.48xlarge"
    assert Site.of("H100", catalog, None) == (catalog.get("H100"), 1, None)
    assert Site.of(catalog.get("T4"), catalog, 3).gpus == 3
    with pytest.raises(RequestError, match=r"gpus is 4, but p5\.48xlarge has 8, and is rented as a whole"):
        Site.of("p5.48xlarge", catalog, 4)


def test_a_plan_on_a_machine_has_its_host_memory_and_is_found_again_from_its_file(tmp_path: Path) -> None:
    result = estimate("gpt2", gpu="g5.12xlarge", sharding="full_shard")
    assert (result.request.gpu, result.request.machine, result.request.gpus) == ("A10G", "g5.12xlarge", 4)
    assert result.memory.host
    assert result.memory.host.budget_bytes == 192 * 2**30
    assert "on g5.12xlarge: 4 x A10G (22.1 GiB usable)" in str(result)
    path = tmp_path / "plan.json"
    path.write_text(result.model_dump_json())
    again = estimate(**arguments_of(str(path)))
    assert json.loads(again.model_dump_json())["memory"] == json.loads(result.model_dump_json())["memory"]


def test_the_network_of_a_machine_decides_how_long_collectives_take() -> None:
    slow, fast = (
        fit("llama-2-7b", gpu=gpu, nodes=2, finetuning="full", precision="bf16-mixed", sharding="full_shard", top=1)
        for gpu in ("a2-ultragpu-8g", "p4de.24xlarge")
    )
    assert slow.plans[0].time.tokens_per_second < fast.plans[0].time.tokens_per_second


def test_a_size_stands_for_a_card_and_the_answer_says_what_is_assumed() -> None:
    result = fit("gpt2", gpu="24 GiB")
    assert (result.request.gpu, result.request.gpu_memory_bytes) == ("24GiB", 24 * 2**30)
    (note,) = (note for note in result.notes if note.startswith("24GiB is"))
    assert "no card of the catalog" in note
    assert "A10G" in note


def test_the_gb_of_a_size_are_no_gib_and_the_answer_says_so() -> None:
    result = fit("gpt2", gpu="24 gb")
    assert (result.request.gpu, result.request.gpu_memory_bytes) == ("24GB", 24 * 10**9)
    assert any(note.startswith("24GB is 24 x 1000^3 bytes") and "24GiB plans one" in note for note in result.notes)
