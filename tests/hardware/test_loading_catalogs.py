import pytest

from hardware.gpu import GPU
from hardware.loading import builtin_catalog_path, read_catalog
from hardware.machine import Machine

CATALOG = read_catalog(builtin_catalog_path())

SHARED = ("GB10",)
"""GPUs whose entry has a part of the memory that they share with their host."""


@pytest.mark.parametrize("gpu", CATALOG.gpus, ids=lambda gpu: gpu.name)
def test_a_built_in_entry_is_physically_plausible(gpu: GPU) -> None:
    peaks = gpu.peak_flops.model_dump(exclude_none=True)
    fastest_16_bit = peaks["bf16"] if gpu.supports_bf16 else peaks["fp16"]
    has_no_tensor_cores = gpu.name.startswith("T1000")  # alone among those of its capability
    has_no_fast_halves = gpu.compute_capability == "6.1" or has_no_tensor_cores  # products are computed in fp32
    assert fastest_16_bit == peaks["fp32"] if has_no_fast_halves else fastest_16_bit > peaks["fp32"]
    assert peaks.get("fp8", 2 * fastest_16_bit) >= fastest_16_bit
    assert peaks.get("tf32", peaks["fp32"]) >= peaks["fp32"]
    # a byte of memory bandwidth feeds between 10 (A100, fp32) and 800 (A10G and newer GeForce, 16 bit) operations
    assert 10 <= fastest_16_bit / gpu.memory_bandwidth_bytes_per_second <= 800
    assert gpu.host_link.bytes_per_second <= gpu.gpu_link.bytes_per_second < gpu.memory_bandwidth_bytes_per_second
    assert gpu.context_bytes < gpu.memory_bytes / 8


@pytest.mark.parametrize("gpu", CATALOG.gpus, ids=lambda gpu: gpu.name)
def test_usable_memory_is_a_little_less_than_the_number_on_the_box(gpu: GPU) -> None:
    boxes = [6, 8, 10, 11, 12, 16, 20, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 186, 192, 256, 288]
    num_bytes = gpu.memory_bytes + (gpu.host_memory_bytes if gpu.name in SHARED else 0)
    box = min(size for size in boxes if size * 2**30 >= num_bytes * 0.995)
    assert 0.90 <= num_bytes / (box * 2**30) <= 1.0


@pytest.mark.parametrize("machine", CATALOG.machines, ids=lambda machine: machine.name)
def test_a_machine_is_of_the_gpus_that_its_catalog_has_and_priced_as_they_are(machine: Machine) -> None:
    gpu = CATALOG.get(machine.gpu)
    assert machine.gpu == gpu.name
    assert machine.gpus <= gpu.gpus_per_node
    if machine.host_memory_bytes is not None:
        assert machine.host_memory_bytes >= gpu.memory_bytes / 4
    if machine.price_per_hour_usd is None:
        assert machine.price_source is None
    else:
        assert machine.price_source
        undated = ("unverified", "without a date", "3b38af7")
        assert machine.price_date or any(words in machine.price_source for words in undated)
        assert 0.1 < machine.price_per_hour_usd / machine.gpus < 15


@pytest.mark.parametrize("gpu", [gpu for gpu in CATALOG if gpu.price_per_hour_usd], ids=lambda gpu: gpu.name)
def test_a_price_has_its_day_and_its_source(gpu: GPU) -> None:
    assert gpu.price_date
    assert gpu.price_source
