import pytest

from hardware import GIB, PlannerError, UnknownNameError, load_catalog
from hardware.names.unlisted import memory_of


@pytest.fixture(autouse=True)
def no_user_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANNER_CATALOG", raising=False)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24GiB", 24 * GIB),
        (" 24 gib ", 24 * GIB),
        ("24GB", 24 * 10**9),
        ("11.5GiB", 23 * GIB // 2),
        ("24576MiB", 24 * GIB),
        ("24", None),
        ("A100-40GB", None),
        ("GiB", None),
        ("-1GiB", None),
    ],
)
def test_a_size_is_a_number_with_its_unit(text: str, size: int | None) -> None:
    assert memory_of(text) == size


@pytest.mark.parametrize(("text", "name"), [(" 24 gib", "24GiB"), ("24 gb", "24GB"), ("11.5GIB", "11.5GiB")])
def test_a_card_that_is_not_listed_is_called_by_its_size_in_the_unit_that_was_given(text: str, name: str) -> None:
    assert load_catalog().get(text).name == name


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("24GiB", "A10G"),  # the slowest of the cards with about 24 GiB
        ("80GB", "A100-80GB-PCIe"),
        ("12GiB", "RTX-3060-12GB"),
        ("3000GiB", "GB300"),  # none is about as large
    ],
)
def test_a_card_that_is_not_listed_is_the_slowest_of_about_its_size_but_for_its_memory(name: str, like: str) -> None:
    catalog = load_catalog()
    gpu, known = catalog.get(name), catalog.get(like)
    assert gpu.source == f"assumed: all but the memory is that of {like}"
    changed = {"name", "aliases", "memory_bytes", "host_memory_bytes", "source"}
    changed |= {"price_per_hour_usd", "price_date", "price_source"}
    assert gpu.model_dump(exclude=changed) == known.model_dump(exclude=changed)
    assert (gpu.name, gpu.aliases, gpu.memory_bytes) == (name, (), memory_of(name))
    assert gpu.price_per_hour_usd is None


def test_the_size_of_no_card_is_refused() -> None:
    with pytest.raises(PlannerError, match="a card with 10MiB of memory is not known"):
        load_catalog().get("10MiB")
    with pytest.raises(UnknownNameError):
        load_catalog().get("24GiBs")
