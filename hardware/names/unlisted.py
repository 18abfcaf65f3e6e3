"""Stands in for a card that no catalog lists; only its memory is known."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hardware.errors import PlannerError
from hardware.fields import GIB, MIB
from hardware.gpu import GPU
from hardware.sizes import size_of, tidied

LEAST, MOST = GIB, 4096 * GIB
"""Least and most bytes of such a card."""
_AMPERE: Final = (8, 0)
ASSUMED: Final = "assumed: all but the memory is that of "
"""Begin of the source of such a card, before the name of the listed one."""
ABOUT: Final = 0.1
"""Share by which the memory of another card may differ for it to be of about the same size."""


def memory_of(name: str) -> int | None:
    """Returns the bytes that a name says, such as `24GiB`; None if it is no size of memory."""
    size = size_of(name)
    return size if size is not None and size >= MIB else None


def unlisted(name: str, memory_bytes: int, listed: Iterable[GPU]) -> GPU:
    """Returns a card with so much usable memory, and all else of a listed one.

    That is the slowest one of about the same size among NVIDIA's cards from Ampere on, by its peak in bf16, so that the
    card is probably as fast or faster; where none is about as large, the nearest one. `source` names it.

    Args:
        name: The size, as the user writes it.
        memory_bytes: Bytes that processes can use.
        listed: GPUs of a catalog, of which one has to be NVIDIA's from Ampere on.

    Raises:
        PlannerError: The size is of no card.
    """
    if not LEAST <= memory_bytes <= MOST:
        raise PlannerError(f"a card with {name.strip()} of memory is not known", "24GiB is a usual one")
    cards = [gpu for gpu in listed if gpu.vendor == "nvidia" and gpu.has_sm(_AMPERE)]
    near = [gpu for gpu in cards if abs(gpu.memory_bytes / memory_bytes - 1) <= ABOUT]
    alike = min(near, key=lambda gpu: (gpu.peak_flops.bf16 or 0, gpu.name)) if near else None
    like = alike or min(cards, key=lambda gpu: (abs(gpu.memory_bytes - memory_bytes), gpu.name))
    changed = {
        "name": tidied(name),
        "aliases": (),
        "memory_bytes": memory_bytes,
        "host_memory_bytes": 2 * memory_bytes,
        "price_per_hour_usd": None,
        "price_date": None,
        "price_source": None,
        "source": ASSUMED + like.name,
    }
    return like.model_copy(update=changed)
