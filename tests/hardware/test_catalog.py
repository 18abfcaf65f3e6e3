from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from hardware import (
    GPU,
    Catalog,
    CatalogError,
    UnknownNameError,
    builtin_catalog_path,
    load_catalog,
    read_catalog,
)

FUZZ = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)


@pytest.fixture(autouse=True)
def no_user_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)


def gpu(name: str, *aliases: str) -> GPU:
    return load_catalog().get("T4").model_copy(update={"name": name, "aliases": aliases})


def written(directory: Path, content: str) -> Path:
    path = directory / "my.yaml"
    path.write_text(content)
    return path


def test_the_built_in_file_is_valid_and_lazy_loading_gives_what_a_full_read_gives() -> None:
    full = read_catalog(builtin_catalog_path())
    assert len(full) >= 55
    assert full == load_catalog()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("A100", "A100-80GB-SXM"),
        ("a100 40gb", "A100-40GB-SXM"),
        ("4090", "RTX-4090"),
        ("NVIDIA GeForce RTX 4090", "RTX-4090"),
        ("NVIDIA H100 80GB HBM3", "H100-80GB-SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB-SXM"),
        ("Tesla T4", "T4"),
        ("AMD Instinct MI300X", "MI300X"),
        ("gaudi 2", "Gaudi2"),
    ],
)
def test_a_gpu_is_found_by_name_alias_and_the_name_that_torch_reports(asked: str, found: str) -> None:
    assert load_catalog().get(asked).name == found


@pytest.mark.parametrize(
    ("asked", "variants"),
    [
        ("A100", ("A100-80GB-SXM", "A100-40GB-PCIe", "A100-40GB-SXM", "A100-80GB-PCIe")),
        ("V100-PCIe", ("V100-16GB-PCIe", "V100-16GB-SXM", "V100-32GB-SXM", "V100-32GB-PCIe")),
        ("NVIDIA GeForce RTX 4060 Ti", ("RTX-4060-Ti-16GB", "RTX-4060-Ti-8GB")),
        ("rtx 3080", ("RTX-3080-10GB", "RTX-3080-12GB")),  # and not the RTX-3080-Ti, which is another card
        ("RTX-3060", ("RTX-3060-12GB",)),
        ("A100-40GB", ()),
        ("NVIDIA A100 80GB PCIe", ()),
        ("A100-80GB-SXM", ()),
        ("H200", ()),
        ("T4", ()),
        ("nothing", ()),
    ],
)
def test_a_name_without_a_size_may_mean_several_variants_of_a_card(asked: str, variants: tuple[str, ...]) -> None:
    assert load_catalog().variants(asked) == variants


def test_an_unknown_name_raises_with_the_nearest_names() -> None:
    with pytest.raises(UnknownNameError) as caught:
        load_catalog().get("A100-40")
    assert caught.value.hint == "did you mean A100-40GB-SXM, A100-40GB-PCIe?  (planner gpus lists all)"


def test_a_catalog_behaves_like_a_collection() -> None:
    catalog = Catalog([gpu("One", "uno"), gpu("Two")])
    assert (len(catalog), catalog.names(), [each.name for each in catalog]) == (2, ("One", "Two"), ["One", "Two"])
    assert ("UNO" in catalog, "three" in catalog, catalog.find("three")) == (True, False, None)
    assert (repr(catalog), hash(catalog)) == ("Catalog of 2 GPUs", hash(Catalog([gpu("One"), gpu("Two")])))
    assert catalog != [gpu("One", "uno"), gpu("Two")]


def test_two_gpus_cannot_claim_one_name() -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog([gpu("One"), gpu("Two", "one"), gpu("One")])
    assert caught.value.problems == [
        "Two: one of its names already belongs to One",
        "One: one of its names already belongs to One",
    ]


def test_merging_replaces_a_gpu_of_the_same_name_in_its_place_and_appends_new_ones() -> None:
    merged = Catalog([gpu("One", "uno"), gpu("Two")]).merge(Catalog([gpu("Three"), gpu("One", "first")]))
    assert merged.names() == ("One", "Two", "Three")
    assert (merged.get("first").name, "uno" in merged) == ("One", False)


def test_merging_does_not_change_the_merged_catalogs() -> None:
    one, two = Catalog([gpu("One")]), Catalog([gpu("Two")])
    one.merge(two)
    assert (one.names(), two.names()) == (("One",), ("Two",))


def test_merging_a_gpu_that_claims_a_name_of_another_is_refused() -> None:
    with pytest.raises(CatalogError) as caught:
        Catalog([gpu("One", "uno")]).merge(Catalog([gpu("Two", "uno")]))
    assert caught.value.problems == ["Two: one of its names already belongs to One"]


def test_an_entry_of_a_user_file_changes_only_the_fields_that_it_gives(tmp_path: Path) -> None:
    path = written(tmp_path, "gpus:\n  a100: {memory_bytes: 85_000_000_000, peak_flops: {fp32: 1e13}}\n")
    before, after = load_catalog().get("A100"), load_catalog(path).get("A100-80GB-SXM")
    assert after.memory_bytes == 85_000_000_000
    assert after.peak_flops.model_dump(exclude_none=True) == {"fp32": 10**13}
    kept = {"memory_bytes", "peak_flops"}
    assert after.model_dump(exclude=kept) == before.model_dump(exclude=kept)


def test_a_user_file_leaves_the_other_gpus_and_their_order_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "gpus: {L4: {gpus_per_node: 1}}")
    assert load_catalog(path).names() == load_catalog().names()
    assert load_catalog(path).get("T4") == load_catalog().get("T4")


def test_the_variable_names_a_user_file_unless_a_path_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANNER_CATALOG", str(written(tmp_path, "gpus: {L4: {gpus_per_node: 3}}")))
    other = tmp_path / "other.yaml"
    other.write_text("gpus: {L4: {gpus_per_node: 5}}")
    assert [load_catalog().get("L4").gpus_per_node, load_catalog(other).get("L4").gpus_per_node] == [3, 5]


def test_a_broken_built_in_entry_is_reported_with_its_position(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, "gpus:\n  Toy: {vendor: nobody}\n")
    monkeypatch.setattr("hardware.loading.builtin_catalog_path", lambda: path)
    with pytest.raises(CatalogError) as caught:
        load_catalog().get("Toy")
    assert f"{path}:2:17: gpus.Toy.vendor: must be 'nvidia', 'amd' or 'intel', not 'nobody'" in caught.value.problems


def test_a_missing_built_in_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hardware.loading.builtin_catalog_path", lambda: tmp_path / "gone.yaml")
    with pytest.raises(CatalogError) as caught:
        load_catalog()
    assert caught.value.problems == [f"{tmp_path}/gone.yaml:1:1: (file): no such file"]


def test_of_the_built_in_catalog_only_the_gpu_that_is_wanted_is_validated(monkeypatch: pytest.MonkeyPatch) -> None:
    validated: list[str] = []
    validate = GPU.model_validate

    def counted(fields: dict[str, Any]) -> GPU:
        validated.append(fields["name"])
        return validate(fields)

    monkeypatch.setattr(GPU, "model_validate", counted)
    assert load_catalog().get("A100").name == "A100-80GB-SXM"
    assert validated == ["A100-80GB-SXM"]


@pytest.mark.parametrize("content", ["gpus: [", "gpus: {T4: 7}", "gpus: [T4]", "7", "gpus:\n", "\xff"])
def test_a_built_in_file_that_is_no_catalog_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    path = tmp_path / "my.yaml"
    path.write_bytes(content.encode("latin-1"))
    monkeypatch.setattr("hardware.loading.builtin_catalog_path", lambda: path)
    with pytest.raises(CatalogError) as caught:
        load_catalog()
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)


YAML_PIECES = (
    """gpus: T4: { } [ ] &a *a <<: !!int - ? : , memory_bytes: peak_flops: aliases: 1e9 .nan -1 yes ' " # | 0x x"""
)
YAML_LIKE = st.lists(st.sampled_from([*YAML_PIECES.split(), " ", "  ", "\n"])).map("".join)


def problems_of_loading(path: Path) -> list[str]:
    try:
        assert isinstance(load_catalog(path), Catalog)
    except CatalogError as error:
        return error.problems
    return []


@FUZZ
@given(st.binary() | st.text().map(str.encode) | YAML_LIKE.map(str.encode))
@example(b"gpus: {T4: {memory_bytes: 0x" + b"f" * 9000 + b"}}")
@example(b"gpus: {T4: {aliases: {a: 1}}, L4: {peak_flops: 3}, 1: {<<: [{a: 1}]}}")
def test_any_bytes_give_a_catalog_or_a_catalog_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_bytes(content)
    for problem in problems_of_loading(path):
        assert problem.startswith(f"{path}:")
        assert "\n" not in problem


JSON_LIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=8,
)


@FUZZ
@given(st.dictionaries(st.sampled_from(sorted(GPU.model_fields)), JSON_LIKE))
def test_any_fields_of_an_entry_give_a_catalog_or_a_catalog_error(tmp_path: Path, fields: dict[str, object]) -> None:
    path = tmp_path / "fuzz.yaml"
    path.write_text(yaml.safe_dump({"gpus": {"T4": fields}}))
    for problem in problems_of_loading(path):
        assert problem.startswith(f"{path}:")
        assert "\n" not in problem
