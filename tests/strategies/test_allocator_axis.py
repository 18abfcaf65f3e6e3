"""The caching allocator is torch's own or the one of expandable segments, which only CUDA has."""

from __future__ import annotations

from hardware import load_catalog
from strategies import AXES, Allocator
from strategies.rules import allocator_runs_on


def test_expandable_segments_come_first_since_they_do_not_fragment() -> None:
    assert list(Allocator) == ["expandable", "native"]
    assert AXES["allocator"].choices.phrase == "{} allocator"


def test_every_gpu_has_the_native_allocator_and_those_of_nvidia_expandable_segments() -> None:
    gpus = load_catalog().gpus
    assert all(allocator_runs_on(Allocator.NATIVE, gpu) for gpu in gpus)
    expandable = {gpu.vendor: allocator_runs_on(Allocator.EXPANDABLE, gpu) for gpu in gpus}
    assert expandable == {"nvidia": True, "amd": False, "intel": False}
