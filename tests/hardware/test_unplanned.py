"""Hardware that is not planned is told from names that are only misspelled."""

from __future__ import annotations

import pytest

from hardware import PlannerError, UnknownNameError, load_catalog
from hardware.names.named import name_key
from hardware.names.unplanned import why_unplanned


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
        ("7900 XTX", "consumer AMD"),
        ("RTX 4080 Laptop", "GPUs of laptops"),
        ("4090 Max-Q", "GPUs of laptops"),
        ("cpu", "training on CPUs"),
        ("Jetson AGX Orin", "Jetson modules"),
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


@pytest.mark.parametrize(("name", "is_near"), [("A100-40", True), ("GTX 1660 Ti", False), ("K80", False)])
def test_a_card_that_is_not_listed_is_planned_by_its_memory(name: str, is_near: bool) -> None:
    with pytest.raises(UnknownNameError) as unknown:
        load_catalog().get(name)
    assert ("--vram 24GiB" in str(unknown.value.hint)) == (not is_near)


def test_no_name_of_the_catalog_is_told_so() -> None:
    catalog = load_catalog()
    for name in (*catalog.names(), *catalog.machine_names(), *(a for gpu in catalog for a in gpu.aliases)):
        assert why_unplanned(name, name_key(name)) is None, name


@pytest.mark.parametrize(
    ("name", "way_out"),
    [
        ("8xH100", "--gpu H100 --gpus 8"),
        ("8 x A100-80GB", "--gpu A100-80GB --gpus 8"),
        ("H100x8", "--gpu H100 --gpus 8"),
        ("A100-80GB x 4", "--gpu A100-80GB --gpus 4"),
        ("H100:8", "--gpu H100 --gpus 8"),
        ("2x RTX 4090", "--gpu 'RTX 4090' --gpus 2"),
    ],
)
def test_a_number_of_gpus_in_a_name_comes_with_the_options_that_say_it(name: str, way_out: str) -> None:
    assert why_unplanned(name, name_key(name)) == ("the number of GPUs is an option of its own", way_out)


@pytest.mark.parametrize("name", ["GTX 970", "RTX 9999", "RTX50", "x8", "8x"])
def test_a_card_with_a_number_in_its_name_is_no_number_of_cards(name: str) -> None:
    assert why_unplanned(name, name_key(name)) is None


@pytest.mark.parametrize(("name", "gpu"), [("colab", "--gpu T4"), ("Colab T4", "--gpu T4"), ("kaggle", "--gpus 2")])
def test_a_service_that_is_named_for_its_gpus_comes_with_them(name: str, gpu: str) -> None:
    why, way_out = why_unplanned(name, name_key(name)) or ("", "")
    assert why == "that is a service, not a GPU"
    assert gpu in way_out


@pytest.mark.parametrize(("name", "gpu"), [("DGX H100", "H100"), ("hgx-b200", "b200"), ("NVIDIA DGX A100", "A100")])
def test_a_machine_of_nvidias_is_told_as_its_eight_gpus(name: str, gpu: str) -> None:
    assert why_unplanned(name, name_key(name)) == ("that is a machine, of eight GPUs", f"--gpu {gpu} --gpus 8")
    assert load_catalog().get("DGX Spark").name == "GB10"  # which is a name of its GPU
