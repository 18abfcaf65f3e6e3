"""Knows kinds of hardware that no catalog lists, and says why they are not planned."""

from __future__ import annotations

import re
import shlex
from typing import Final

from hardware.names.counted import counted

_AS_CARD: Final = "--vram 24GiB plans an NVIDIA card of that size"
_OTHER: Final = "the memory model is of torch's CUDA and ROCm builds on data-center and GeForce cards"
_KINDS: Final = (
    (
        r"(apple|mac|mps|m[1-9](pro|max|ultra)?$).*",
        "Apple's GPUs are not planned: torch's MPS backend has another allocator, and shares the memory of the host",
        _AS_CARD,
    ),
    (
        r"(radeon|rx|vega|w7[0-9]00|strix|ryzen|ai ?max|[679][0-9]{2}0(xtx?|gre)).*",
        "consumer AMD cards are not planned: no data on their kernels for attention and bitsandbytes is in the catalog",
        f"{_AS_CARD}; planner gpus lists AMD's Instinct cards",
    ),
    (
        r"(intel)?(arc|battlemage|flex1|pontevecchio|datacentergpumax).*",
        "Intel's cards are not planned",
        "",
    ),
    (
        r"(nvidia)?(jetson|agx|orin|xavier).*",
        "Jetson modules are not planned: they share the memory of the host, and none of their kernels is measured",
        _AS_CARD,
    ),
    (r"(google)?(tpu|v[2-6][ep]?-|cloudtpu).*", "TPUs are not planned: XLA lays memory out itself", ""),
    (
        r"(aws)?(trn|trainium|inf[12]|inferentia).*",
        "Trainium is not planned: Neuron lays memory out itself",
        "",
    ),
    (
        r".*(laptop|mobile|notebook).*|(?!.*rtxpro).*maxq.*",  # an RTX PRO 6000 Max-Q is a workstation's card
        "GPUs of laptops have less memory and power than the cards whose name they have",
        "--vram 16GiB plans a card of that memory",
    ),
    (r"(amd|intel)?(cpu|xeon|epyc).*", "training on CPUs is not planned", ""),
    (r"(ascend|910b|cambricon|cerebras|groq|graphcore|ipu|npu).*", "this accelerator is not planned", ""),
)
"""Names without case, '-', '_' and spaces; what is said of them; and the way out, if not the usual one."""
_WHOLE_NODE: Final = r"(?i)\s*(?:nvidia\s+)?[dh]gx[-_\s]*([abhv]\w+)\s*"
"""A machine of NVIDIA's with eight of a GPU: `DGX H100`, `HGX-B200`."""
_NOTEBOOKS: Final = {
    "colab": "--gpu T4 is Colab's free GPU; --gpu L4 and --gpu A100-40GB are those it rents",
    "kaggle": "--gpu T4 --gpus 2, or --gpu P100: what Kaggle has",
}
"""Services that people name in place of their GPUs, and what those are."""
_MIXED: Final = r"(?i).*(\w\s*[+&/]\s*\w|\sand\s|different|mixed).*"


def why_unplanned(name: str, key: str) -> tuple[str, str] | None:
    """Returns why hardware of a name is not planned, and what to do; None where the name is only unknown.

    Args:
        name: The name as it was given.
        key: The name as names are compared, without case, '-', '_' and spaces.
    """
    if (number := counted(name)) is not None:
        return "the number of GPUs is an option of its own", f"--gpu {shlex.quote(number[1])} --gpus {number[0]}"
    if (node := re.fullmatch(_WHOLE_NODE, name)) is not None:
        return "that is a machine, of eight GPUs", f"--gpu {node[1]} --gpus 8"
    for service, gpus in _NOTEBOOKS.items():
        if service in key:
            return "that is a service, not a GPU", gpus
    if re.fullmatch(_MIXED, name):
        told = "GPUs of different kinds are not planned together: all ranks of a plan hold the same"
        return told, "--gpu the one with the least memory and --gpus how many there are of all; A,B compares two"
    for pattern, why, hint in _KINDS:
        if re.fullmatch(pattern, key):
            return why, hint or f"{_OTHER}; {_AS_CARD}"
    return None
