"""Bounds of what a catalog says, the last value that is taken and the first not; and what an architecture decides."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from hardware import GIB, GPU, MIB, load_catalog

FIELDS: dict[str, Any] = load_catalog().get("A100-40GB").model_dump(exclude_unset=True)


def test_units_of_memory_are_powers_of_two() -> None:
    assert (MIB, GIB) == (1_048_576, 1_073_741_824)


def gpu(**fields: Any) -> GPU:
    return GPU.model_validate({**FIELDS, **fields})


LINK = {"kind": "pcie"}


@pytest.mark.parametrize(
    ("field", "least", "most"),
    [
        ("memory_bytes", 16 * MIB, 4096 * GIB),
        ("context_bytes", 16 * MIB, 4096 * GIB),
        ("memory_bandwidth_bytes_per_second", 10**6, 10**14),
        ("gpus_per_node", 1, 1024),
    ],
)
def test_a_number_is_taken_between_its_bounds_and_refused_beyond(field: str, least: int, most: int) -> None:
    for value in (least, most):
        assert getattr(gpu(**{field: value}), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(ValidationError, match=field):
            gpu(**{field: value})


def test_rates_of_links_and_units_are_bounded_as_well() -> None:
    assert gpu(peak_flops={"fp32": 10**6, "fp8": 10**18}).peak_flops.fp8 == 10**18
    assert gpu(gpu_link={**LINK, "bytes_per_second": 10**14}).gpu_link.bytes_per_second == 10**14
    for fields in (
        {"peak_flops": {"fp32": 10**6 - 1}},
        {"peak_flops": {"fp32": 10**18 + 1}},
        {"gpu_link": {**LINK, "bytes_per_second": 10**6 - 1}},
        {"host_link": {**LINK, "bytes_per_second": 10**14 + 1}},
    ):
        with pytest.raises(ValidationError):
            gpu(**fields)


@pytest.mark.parametrize(("price", "fits"), [(0.0, False), (0.01, True), (1000.0, True), (1000.1, False)])
def test_a_price_is_above_nothing_and_at_most_a_thousand(price: float, fits: bool) -> None:
    if fits:
        assert gpu(price_per_hour_usd=price).price_per_hour_usd == price
    else:
        with pytest.raises(ValidationError, match="price_per_hour_usd"):
            gpu(price_per_hour_usd=price)
    assert gpu().price_per_hour_usd == FIELDS.get("price_per_hour_usd")


def test_texts_are_of_one_line_and_not_endless() -> None:
    assert gpu(source="x" * 1000, architecture="y").source == "x" * 1000
    for text in ("", "x" * 1001, "two\nlines", "bell\a"):
        with pytest.raises(ValidationError, match="source"):
            gpu(source=text)
    assert gpu(name="x" * 100).name == "x" * 100
    for name in ("x" * 101, "", ".x", "x/y"):
        with pytest.raises(ValidationError, match="name"):
            gpu(name=name)


def test_what_a_catalog_leaves_out_is_unknown() -> None:
    bare = gpu(aliases=(), network_link=None, peak_flops={"fp32": 1e12})
    assert (bare.network_link, bare.aliases) == (None, ())
    assert {dtype: bare.peak_flops.of(dtype) for dtype in ("tf32", "fp16", "bf16", "fp8", "int8")} == dict.fromkeys(
        ("tf32", "fp16", "bf16", "fp8", "int8")
    )
    with pytest.raises(ValidationError):
        gpu(unknown=1)


@pytest.mark.parametrize(
    ("vendor", "good", "bad"),
    [
        ("nvidia", ("8.0", "12.1", "10.3"), ("8", "800.0", "8.00", "sm80", "8.x")),
        ("amd", ("gfx942", "gfx90a", "gfx10300"), ("942", "gfx9", "gfx94z", "gfx123456")),
        ("intel", ("gaudi2", "xe-hpc"), ("2gaudi", "Gaudi2", "-x")),
    ],
)
def test_a_compute_capability_is_of_its_vendors_form(vendor: str, good: tuple[str, ...], bad: tuple[str, ...]) -> None:
    for text in good:
        assert gpu(vendor=vendor, compute_capability=text).compute_capability == text
    for text in bad:
        with pytest.raises(ValidationError, match="is not of"):
            gpu(vendor=vendor, compute_capability=text)


# --- what a GPU can do, by its capability ---

CONTEXT_MIB = {
    "6.0": 300,
    "7.0": 390,
    "7.5": 300,
    "8.0": 500,
    "8.6": 350,
    "8.9": 470,
    "9.0": 520,
    "10.0": 715,
    "10.3": 715,
    "12.0": 350,
    "9.9": 500,
}


@pytest.mark.parametrize(("capability", "mebibytes"), CONTEXT_MIB.items())
def test_a_context_takes_what_was_measured_on_its_architecture(capability: str, mebibytes: int) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "context_bytes"}
    found = GPU.model_validate({**fields, "compute_capability": capability})
    assert found.context_bytes == mebibytes * MIB


def features(capability: str, vendor: str = "nvidia", **peaks: float) -> set[str]:
    """What a GPU supports that has half precision and, unless told otherwise, no other matrix units."""
    peak_flops = {"fp32": 1e12, "fp16": 1e13, "bf16": 1e13, **peaks}
    found = gpu(vendor=vendor, compute_capability=capability, peak_flops=peak_flops)
    names = ("fp16", "bf16", "tf32", "fp8", "flash_attention", "bitsandbytes", "triton")
    return {name for name in names if getattr(found, f"supports_{name}")} | (
        {"cudnn"} if found.prefers_cudnn_attention else set()
    )


def test_nvidia_supports_by_compute_capability() -> None:
    assert features("5.2") == {"fp16"}
    assert features("6.0") == {"fp16", "bitsandbytes"}
    assert features("6.1") == {"fp16", "bitsandbytes"}
    assert features("7.0") == features("7.5") == {"fp16", "bitsandbytes", "triton"}
    ampere = {"fp16", "bitsandbytes", "triton", "bf16", "tf32", "flash_attention"}
    assert features("8.0") == features("8.6") == ampere
    assert features("8.9") == features("12.0") == features("12.1") == ampere | {"fp8"}
    assert features("9.0") == features("10.0") == features("10.3") == ampere | {"fp8", "cudnn"}
    assert features("12.2") == features("13.0") == (ampere | {"fp8"}) - {"flash_attention"}


def test_amd_supports_by_its_architecture_and_what_its_peaks_say() -> None:
    assert features("gfx908", "amd") == {"fp16", "bf16", "triton"}
    newer = {"fp16", "bf16", "triton", "flash_attention", "bitsandbytes"}
    assert features("gfx90a", "amd") == features("gfx942", "amd") == features("gfx950", "amd") == newer
    assert features("gfx942", "amd", tf32=1e13) == newer | {"tf32"}
    assert features("gfx942", "amd", fp8=1e13) == newer | {"fp8"}


def test_gaudi_supports_all_but_triton_and_tf32() -> None:
    gaudi = {"fp16", "bf16", "flash_attention", "bitsandbytes"}
    assert features("gaudi2", "intel") == features("gaudi2", "intel", tf32=1e13) == gaudi
    assert features("gaudi2", "intel", fp8=1e13) == gaudi | {"fp8"}


@pytest.mark.parametrize(
    ("vendor", "capability", "bytes_"),
    [
        ("nvidia", "8.9", 8_519_680),
        ("nvidia", "9.0", 32 * MIB),
        ("nvidia", "12.0", 32 * MIB),
        ("amd", "gfx90a", 32 * MIB),
        ("amd", "gfx942", 128 * MIB),
        ("amd", "gfx950", 128 * MIB),
        ("intel", "gaudi3", 0),
    ],
)
def test_a_blas_workspace_is_of_its_architecture(vendor: str, capability: str, bytes_: int) -> None:
    assert gpu(vendor=vendor, compute_capability=capability).cublas_workspace_bytes == bytes_
