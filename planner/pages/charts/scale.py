"""Maps numbers to places on an axis, and chooses the numbers that are written along it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


class Scale(NamedTuple):
    """Maps a range of numbers to a range of pixels."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False
    """Whether equal factors have equal distances."""

    def __call__(self, value: float) -> float:
        """Returns the place of a number."""
        low, high, value = (math.log2(n) if self.is_log else n for n in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * share


def ticks(high: float, most: int, *, whole: bool = False) -> list[float]:
    """Returns round numbers from 0 up to `high`, at equal distances, `most` distances at the most.

    Args:
        high: The largest number of the axis.
        most: Distances between the numbers at the most.
        whole: Whether only whole numbers make sense.
    """
    if high <= 0:
        return [0.0]
    unit = 10.0 ** math.floor(math.log10(high / most))
    step = next(step * unit for step in _STEPS if high / (step * unit) <= most + 1e-9)
    if whole:
        step = max(1, math.ceil(step))
    return [step * i for i in range(int(high / step + 1e-9) + 1)]


def powers(low: float, high: float, most: int) -> list[float]:
    """Returns powers of two from `low` to `high`, `most` at the most, at equal distances."""
    first, last = math.ceil(math.log2(low) - 1e-9), math.floor(math.log2(high) + 1e-9)
    step = max(1, -(-(last - first + 1) // most))
    return [2.0**power for power in range(first, last + 1, step)]


def rounded(low: float, high: float, most: int) -> list[float]:
    """Returns powers of ten from `low` to `high`, with multiples between them, `most` numbers at the most."""
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [digit * 10.0**exponent for exponent in exponents for digit in digits]
        found = [number for number in found if low <= number <= high]
        if len(found) <= most:
            break
    return found


def short(number: float) -> str:
    """Returns a number of an axis in little room: 2500 -> "2.5k"."""
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.4g}{unit}"
    return f"{number:.4g}"


def length(number: float) -> str:
    """Returns tokens of a sequence as people say them: 4096 -> "4,096", 131072 -> "128K"."""
    return f"{number / 1024:g}K" if number >= 16384 and number % 1024 == 0 else f"{number:,.0f}"


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Returns how wide a short text is, in pixels, in the widest of usual fonts, DejaVu Sans.

    On average its digits and letters are narrower than 0.62 of their size, bold ones with a number sign than 0.76.
    """
    return (0.76 if bold else 0.62) * size * len(text)


def spanned(values: Sequence[float]) -> tuple[float, float]:
    """Returns the least and the largest of some numbers."""
    return min(values), max(values)
