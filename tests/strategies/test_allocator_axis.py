"""The caching allocator is torch's own or the one of expandable segments, which CUDA has, and ROCm since torch 2.12."""

from __future__ import annotations

from hardware import load_catalog
from strategies import AXES, Allocator
from strategies.rules import allocator_runs_on, usual_allocator


def test_expandable_segments_come_first_since_they_do_not_fragment() -> None:
    assert list(Allocator) == ["expandable", "native"]
    assert AXES["allocator"].choices.phrase == "{} allocator"


def test_every_gpu_has_the_native_allocator_and_those_of_nvidia_and_amd_expandable_segments() -> None:
    gpus = load_catalog().gpus
    assert all(allocator_runs_on(Allocator.NATIVE, gpu) for gpu in gpus)
    expandable = {gpu.vendor: allocator_runs_on(Allocator.EXPANDABLE, gpu) for gpu in gpus}
    assert expandable == {"nvidia": True, "amd": True, "intel": False}


def test_expandable_segments_are_usual_where_they_are_proven() -> None:
    usual = {gpu.vendor: usual_allocator(gpu) for gpu in load_catalog().gpus}
    assert usual == {"nvidia": "expandable", "amd": "native", "intel": "native"}
