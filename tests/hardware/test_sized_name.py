"""Names of cards with the size of their memory behind them."""

from __future__ import annotations

import pytest

from hardware import UnknownNameError, load_catalog


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("4090 24GB", "RTX-4090"),
        ("RTX4090-24GB", "RTX-4090"),
        ("T4 16 GiB", "T4"),
        ("A100_80G", "A100-80GB-SXM"),
        ("a100 40g", "A100-40GB-SXM"),  # the size chooses among the card's variants
        ("v100 16gb", "V100-16GB-SXM"),
        ("3060 12GB", "RTX-3060-12GB"),
        ("H200 141GB", "H200"),
    ],
)
def test_the_size_on_the_box_may_stand_behind_the_name(name: str, found: str) -> None:
    assert load_catalog().get(name).name == found


@pytest.mark.parametrize("name", ["4090 48GB", "3060 8GB", "xyz 24GB", "A100-60GB"])
def test_a_card_that_there_is_not_with_so_much_memory_is_unknown(name: str) -> None:
    with pytest.raises(UnknownNameError):
        load_catalog().get(name)
