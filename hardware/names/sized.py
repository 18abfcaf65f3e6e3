"""Finds GPUs by names behind which people write how much memory the card has: `4090 24GB`, `A100 80G`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hardware.fields import GIB
from hardware.gpu import GPU
from hardware.names.unlisted import ABOUT

if TYPE_CHECKING:
    from hardware.catalog import Catalog

_SIZED: Final = (
    r"(?i)\s*(?P<card>\S(?:.*[^-_\s])?)[-_\s]*"
    r"(?<![0-9])(?P<size>[0-9]{1,3})\s*G(?:i?B)?\s*"
)
"""A name and a number of GB, which are GiB, as those on boxes are; the number alone could be a part of the name."""


def of_size(name: str, catalog: Catalog) -> GPU | None:
    """Returns the GPU that a name with its memory behind it means; None if there is none of that size.

    Args:
        name: Name of a card, and the size of its memory.
        catalog: The catalog.
    """
    found = re.fullmatch(_SIZED, name)
    if found is None:
        return None
    card, size = found["card"], int(found["size"]) * GIB
    named = _meant((f"{card}-{found['size']}GB", card), catalog)  # `A100 40G` is A100-40GB, of its cards with 40 GB
    return next((gpu for gpu in named if abs(gpu.memory_bytes / size - 1) <= ABOUT), None)


def _meant(names: tuple[str, ...], catalog: Catalog) -> Iterator[GPU]:
    """Yields the GPUs that names of a card may mean, the likeliest first."""
    for name in names:
        found = catalog.find(name)
        yield from () if found is None else (found, *map(catalog.get, catalog.variants(name)))
