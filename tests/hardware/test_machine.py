from datetime import date
from pathlib import Path

import pytest

from hardware import Catalog, CatalogError, Cluster, Machine, PlannerError, UnknownNameError, load_catalog, read_catalog

MINE = """
gpus:
  My-A100: {base: A100-40GB, memory_bytes: 42_000_000_000, source: "torch on my machine"}
  Mine-again:
    base: My-A100
    power_watts: 300
machines:
  box: {provider: us, gpu: My-A100, gpus: 4, host_memory_bytes: 549_755_813_888, source: "our rack"}
  box-2: {base: box, gpus: 8}
  cheap-p5: {base: p5.48xlarge, spot: true, price_per_hour_usd: 20.0, price_date: 2026-11-28}
"""


@pytest.fixture(autouse=True)
def no_user_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)


def read(directory: Path, content: str) -> Catalog:
    path = directory / "my.yaml"
    path.write_text(content)
    return read_catalog(path, base=load_catalog())


def problems(directory: Path, content: str) -> list[str]:
    with pytest.raises(CatalogError) as caught:
        read(directory, content)
    return [problem.removeprefix(f"{directory}/") for problem in caught.value.problems]


def test_a_machine_is_found_by_name_and_alias() -> None:
    catalog = load_catalog()
    assert catalog.machine("P5 48xlarge".replace(" ", ".")).gpus == 8
    assert catalog.machine("Standard_NC24ads_A100_v4").name == "NC24ads_A100_v4"
    assert catalog.find_machine("T4") is None
    with pytest.raises(UnknownNameError, match=r"unknown machine 'p5.49xlarge'"):
        catalog.machine("p5.49xlarge")


def test_an_unknown_gpu_names_machines_that_are_near() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_catalog().get("p5.48xlarg")
    assert caught.value.suggestions[0] == "p5.48xlarge"


def test_an_entry_takes_from_its_base_all_but_names_and_what_belongs_to_a_price(tmp_path: Path) -> None:
    found, known = read(tmp_path, MINE), load_catalog()
    mine, again = found.get("My-A100"), found.get("Mine-again")
    assert mine == known.get("A100-40GB").model_copy(
        update={"name": "My-A100", "aliases": (), "memory_bytes": 42_000_000_000, "source": "torch on my machine"}
    )
    assert again == mine.model_copy(update={"name": "Mine-again", "power_watts": 300})
    assert found.machine("box-2") == found.machine("box").model_copy(update={"name": "box-2", "gpus": 8})
    cheap = found.machine("cheap-p5")
    assert (cheap.price_per_hour_usd, cheap.price_date, cheap.price_source) == (20.0, date(2026, 11, 28), None)
    assert (cheap.gpus, cheap.offer) == (8, "AWS, us-east-1, spot")


def test_merging_adds_machines_and_replaces_those_of_the_same_name(tmp_path: Path) -> None:
    known = load_catalog()
    merged = known.merge(read(tmp_path, "machines:\n  p5.48xlarge: {price_per_hour_usd: 30.0}\n"))
    assert merged.machine_names() == known.machine_names()
    assert merged.machine("p5.48xlarge").price_per_hour_usd == 30
    assert merged.machine("p5.48xlarge").host_memory_bytes == known.machine("p5.48xlarge").host_memory_bytes
    assert merged != known


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "machines:\n  box: {provider: us, gpu: A1000, source: x}\n",
            "my.yaml:2:28: machines.box.gpu: no GPU is called 'A1000', did you mean A10?",
        ),
        (
            "machines:\n  T4: {provider: us, gpu: A100, source: x}\n",
            "my.yaml:2:3: machines.T4: the name 'T4' already belongs to T4, a GPU",
        ),
        (
            "machines:\n  a: {base: b}\n  b: {base: a}\n",
            "my.yaml:3:13: machines.b.base: 'a' is derived from this entry",
        ),
        ("gpus:\n  a: {base: B10000}\n", "my.yaml:2:13: gpus.a.base: no such entry"),
        ("gpus:\n  a: {base: 3}\n", "my.yaml:2:13: gpus.a.base: must be the name of an entry"),
        (
            "machines:\n  a: {base: p5.48xlarge, price_date: 20261109}\n",
            "my.yaml:2:38: machines.a.price_date: must be a day such as 2026-11-09, not 20261109",
        ),
        ("machines: 3\n", "my.yaml:1:11: machines: must be a mapping of machine names, not 3"),
    ],
)
def test_what_is_wrong_with_machines_and_bases_is_said(tmp_path: Path, content: str, expected: str) -> None:
    found = problems(tmp_path, content)
    assert any(problem.startswith(expected) for problem in found), found


def test_two_entries_cannot_claim_one_name() -> None:
    machine = Machine(name="box", provider="us", gpu="T4", source="x")
    with pytest.raises(CatalogError, match="T4"):
        Catalog(load_catalog().gpus, [machine.model_copy(update={"aliases": ("T4",)})])


def test_a_cluster_has_its_machines_memory_network_and_price() -> None:
    catalog = load_catalog()
    p5, h100 = catalog.machine("p5.48xlarge"), catalog.get("H100")
    nodes = Cluster(h100, 8, 2, machine=p5)
    assert nodes.host_memory_bytes == 2048 * 2**30
    assert nodes.network_bytes_per_second == 50_000_000_000
    assert nodes.price_per_hour_usd == pytest.approx(110.08)
    assert nodes.priced is p5
    assert Cluster(h100, 8, 2).price_per_hour_usd == pytest.approx(16 * 3.99)
    assert Cluster(h100, 8, machine=catalog.machine("p5e.48xlarge")).price_per_hour_usd is None
    assert Cluster(catalog.get("A16")).price_per_hour_usd is None
    with pytest.raises(PlannerError):
        Cluster(h100, 0, machine=p5)
