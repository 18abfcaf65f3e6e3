"""Knows kinds of hardware that no catalog lists, and says why they are not planned."""

from __future__ import annotations

import re
from typing import Final

_AS_CARD: Final = "--vram 24GiB plans an NVIDIA card of that size"
_OTHER: Final = "the memory model is of torch's CUDA and ROCm builds on data-center and GeForce cards"
_KINDS: Final = (
    (
        r"(apple|mac|mps|m[1-9](pro|max|ultra)?$).*",
        "Apple's GPUs are not planned: torch's MPS backend has another allocator, and shares the memory of the host",
        _AS_CARD,
    ),
    (
        r"(radeon|rx|vega|w7[0-9]00|strix|ryzen|ai ?max).*",
        "consumer AMD cards are not planned: no data on their kernels for attention and bitsandbytes is in the catalog",
        f"{_AS_CARD}; planner gpus lists AMD's Instinct cards",
    ),
    (
        r"(intel)?(arc|battlemage|flex1|pontevecchio|datacentergpumax).*",
        "Intel's cards are not planned",
        "",
    ),
    (r"(google)?(tpu|v[2-6][ep]?-|cloudtpu).*", "TPUs are not planned: XLA lays memory out itself", ""),
    (
        r"(aws)?(trn|trainium|inf[12]|inferentia).*",
        "Trainium is not planned: Neuron lays memory out itself",
        "",
    ),
    (r"(ascend|910b|cambricon|cerebras|groq|graphcore|ipu|npu).*", "this accelerator is not planned", ""),
)
"""Names without case, '-', '_' and spaces; what is said of them; and the way out, if not the usual one."""
_MIXED: Final = r"(?i).*(\w\s*[+&/]\s*\w|\sand\s|different|mixed).*"


def why_unplanned(name: str, key: str) -> tuple[str, str] | None:
    """Returns why hardware of a name is not planned, and what to do; None where the name is only unknown.

    Args:
        name: The name as it was given.
        key: The name as names are compared, without case, '-', '_' and spaces.
    """
    if re.fullmatch(_MIXED, name):
        told = "GPUs of different kinds are not planned together: all ranks of a plan hold the same"
        return told, "--gpu the one with the least memory and --gpus how many there are of all; A,B compares two"
    for pattern, why, hint in _KINDS:
        if re.fullmatch(pattern, key):
            return why, hint or f"{_OTHER}; {_AS_CARD}"
    return None
