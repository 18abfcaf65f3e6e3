from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hardware import GPU, MIB, load_catalog

CATALOG = load_catalog()

FIELDS: dict[str, Any] = {
    "name": "Toy",
    "vendor": "nvidia",
    "architecture": "ampere",
    "compute_capability": "8.0",
    "memory_bytes": 40 * 2**30,
    "memory_bandwidth_bytes_per_second": 1555 * 10**9,
    "peak_flops": {"fp32": 19.5e12, "bf16": 312e12},
    "gpu_link": {"kind": "nvlink", "bytes_per_second": 300e9},
    "host_link": {"kind": "pcie", "bytes_per_second": 31.5e9},
    "gpus_per_node": 8,
    "source": "invented",
}


def supported(name: str) -> dict[str, bool]:
    gpu = CATALOG.get(name)
    return {
        "fp16": gpu.supports_fp16,
        "bf16": gpu.supports_bf16,
        "tf32": gpu.supports_tf32,
        "fp8": gpu.supports_fp8,
        "flash": gpu.supports_flash_attention,
        "bitsandbytes": gpu.supports_bitsandbytes,
    }


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("P100", {"bf16", "tf32", "fp8", "flash"}),
        ("V100", {"bf16", "tf32", "fp8", "flash"}),
        ("T4", {"bf16", "tf32", "fp8", "flash"}),
        ("A100", {"fp8"}),
        ("RTX-3090", {"fp8"}),
        ("RTX-4090", set()),
        ("H100", set()),
        ("B200", set()),
        ("RTX-5090", set()),
        ("MI100", {"tf32", "fp8", "flash", "bitsandbytes"}),
        ("MI250X", {"tf32", "fp8"}),
        ("MI300X", set()),
        ("MI355X", {"tf32"}),
        ("Gaudi2", {"tf32"}),
    ],
)
def test_an_architecture_supports_all_but_what_it_lacks(name: str, missing: set[str]) -> None:
    assert {feature for feature, present in supported(name).items() if not present} == missing


@pytest.mark.parametrize(
    ("name", "mebibytes"),
    [("T4", 8.125), ("A100", 8.125), ("H100", 32), ("B200", 32), ("RTX-5090", 32), ("MI210", 32), ("MI300X", 128)],
)
def test_the_blas_workspace_is_the_default_of_torch(name: str, mebibytes: float) -> None:
    assert CATALOG.get(name).cublas_workspace_bytes == mebibytes * MIB


def test_gaudi_has_no_blas_workspace() -> None:
    assert CATALOG.get("Gaudi2").cublas_workspace_bytes == 0


def test_the_context_is_the_one_given_or_else_that_of_the_architecture() -> None:
    given_bytes = GPU.model_validate({**FIELDS, "context_bytes": 123 * MIB}).context_bytes
    assert (given_bytes, GPU.model_validate(FIELDS).context_bytes) == (123 * MIB, 500 * MIB)


@pytest.mark.parametrize("text", ["1555e9", "1.555e12", "1.555e+12", "1555000000000", 1.555e12, 1555 * 10**9])
def test_a_rate_may_be_written_in_every_usual_way(text: object) -> None:
    gpu = GPU.model_validate({**FIELDS, "memory_bandwidth_bytes_per_second": text})
    assert gpu.memory_bandwidth_bytes_per_second == 1_555_000_000_000


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("memory_bytes", True),
        ("memory_bytes", 40),
        ("memory_bytes", -1),
        ("memory_bytes", 4.2e10),
        ("memory_bytes", "42e9"),
        ("memory_bytes", 2**60),
        ("memory_bandwidth_bytes_per_second", True),
        ("memory_bandwidth_bytes_per_second", "fast"),
        ("memory_bandwidth_bytes_per_second", float("inf")),
        ("memory_bandwidth_bytes_per_second", "nan"),
        ("memory_bandwidth_bytes_per_second", 1555),
        ("memory_bandwidth_bytes_per_second", 10**400),
        ("peak_flops", {"fp32": 0}),
        ("peak_flops", {"bf16": 1e14}),
        ("gpus_per_node", 0),
        ("gpus_per_node", 8.0),
        ("price_per_hour_usd", float("inf")),
        ("price_per_hour_usd", True),
        ("price_per_hour_usd", 0),
        ("vendor", "nvidea"),
        ("compute_capability", "8"),
        ("compute_capability", 8.0),
        ("name", "-"),
        ("name", "two\nlines"),
        ("source", " "),
        ("memory", 1),
    ],
)
def test_a_wrong_value_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError) as caught:
        GPU.model_validate({**FIELDS, field: value})
    assert field in str(caught.value)


@given(st.floats(1e6, 1e14))
def test_a_rate_read_back_from_its_text_is_the_same(rate: float) -> None:
    gpus = [GPU.model_validate({**FIELDS, "memory_bandwidth_bytes_per_second": value}) for value in (rate, repr(rate))]
    assert gpus[0] == gpus[1]


def test_a_peak_is_found_by_the_name_of_its_dtype() -> None:
    peaks = CATALOG.get("T4").peak_flops
    assert [peaks.of("fp16"), peaks.of("bf16")] == [65_000_000_000_000, None]


def test_a_gpu_survives_a_round_trip_through_json() -> None:
    gpu = CATALOG.get("MI300X")
    assert GPU.model_validate_json(gpu.model_dump_json()) == gpu


def test_equal_gpus_have_equal_hashes_and_cannot_be_changed() -> None:
    gpu = GPU.model_validate(FIELDS)
    assert hash(gpu) == hash(GPU.model_validate(FIELDS))
    with pytest.raises(ValidationError):
        gpu.memory_bytes = 1
