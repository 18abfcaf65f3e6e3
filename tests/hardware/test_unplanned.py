"""Hardware that is not planned is told from names that are only misspelled."""

from __future__ import annotations

import pytest

from hardware import PlannerError, UnknownNameError, load_catalog
from hardware.named import name_key
from hardware.unplanned import why_unplanned


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("M3 Max", "Apple's GPUs"),
        ("apple-m4", "Apple's GPUs"),
        ("RX-7900-XTX", "consumer AMD"),
        ("AMD Radeon RX 9070", "consumer AMD"),
        ("TPU-v5e", "TPUs"),
        ("trn1.32xlarge", "Trainium"),
        ("Arc A770", "Intel's cards"),
        ("RTX4090+RTX3090", "different kinds"),
        ("an A100 and a T4", "different kinds"),
    ],
)
def test_the_reason_is_said(name: str, says: str) -> None:
    with pytest.raises(PlannerError, match=says) as refused:
        load_catalog().get(name)
    assert refused.value.hint


@pytest.mark.parametrize("name", ["RTX-409", "A100-40", "H1000", "M60", "MI3", "RTX6000"])
def test_a_misspelled_name_is_not_explained_away(name: str) -> None:
    assert why_unplanned(name, name_key(name)) is None
    with pytest.raises(UnknownNameError):
        load_catalog().get(name)


def test_no_name_of_the_catalog_is_told_so() -> None:
    catalog = load_catalog()
    for name in (*catalog.names(), *catalog.machine_names(), *(a for gpu in catalog for a in gpu.aliases)):
        assert why_unplanned(name, name_key(name)) is None, name
