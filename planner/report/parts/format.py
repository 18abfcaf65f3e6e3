"""Writes numbers: GiB with one decimal, counts with a unit, parts that visibly add up."""

from __future__ import annotations

from collections.abc import Sequence

from hardware import GIB, MIB

_COUNT_UNITS = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "k"))
_SMALLEST_IN_CENTS = 0.1
_WHOLE_DOLLARS = 10
"""Price of a run from which on cents are left out."""
_SMALLEST_ROUNDED = 9.995  # from here on, two decimals would make more than three digits


def gib(num_bytes: float, decimals: int = 1) -> str:
    """Returns bytes in GiB: 37 580 963 840 -> "35.0"."""
    return f"{num_bytes / GIB:,.{decimals}f}"


def mib(num_bytes: float) -> str:
    """Returns bytes in MiB: 1 572 864 -> "1.50"."""
    return f"{num_bytes / MIB:,.2f}"


def gib_difference(larger: int, smaller: int, decimals: int = 1) -> str:
    """Returns the difference of two written numbers in GiB, as a reader would subtract them."""
    return f"{round(larger / GIB, decimals) - round(smaller / GIB, decimals):,.{decimals}f}"


def gib_parts(parts: Sequence[int], decimals: int = 1) -> list[str]:
    """Returns parts in GiB such that the written numbers add up to the written total.

    Each part is rounded down, and the last digits that are missing go to the parts that lost most.

    Args:
        parts: Bytes of each part.
        decimals: Decimals of GiB.
    """
    scale = 10**decimals
    missing = round(sum(parts) * scale / GIB) - sum(part * scale // GIB for part in parts)
    loss = sorted(range(len(parts)), key=lambda i: -(parts[i] * scale % GIB))
    raised = set(loss[:missing])
    return [f"{(part * scale // GIB + (i in raised)) / scale:,.{decimals}f}" for i, part in enumerate(parts)]


def count(number: float) -> str:
    """Returns a number of things with a unit: 6 738 415 616 -> "6.74 B"."""
    for i, (size, unit) in enumerate(_COUNT_UNITS):
        if number >= size:
            shown = _three_digits(number / size)
            return f"1.00 {_COUNT_UNITS[i - 1][1]}" if shown == "1000" and i > 0 else f"{shown} {unit}"
    return f"{number:.0f}"


def _three_digits(number: float) -> str:
    if number < _SMALLEST_ROUNDED:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < _SMALLEST_ROUNDED * 10 else f"{number:.0f}"


def grouped(number: float) -> str:
    """Returns a number with its digits in groups: 12345.6 -> "12,346"."""
    return f"{number:,.0f}"


def thousands(number: float) -> str:
    """Returns a number in little room: 78256.7 -> "78.3k"."""
    return count(number).replace(" ", "")


def usd(dollars: float) -> str:
    """Returns US dollars: 21.957642 -> "21.96", 0.0345 -> "0.034"."""
    return f"{dollars:,.2f}" if dollars >= _SMALLEST_IN_CENTS else f"{dollars:.2g}"


def percent(share: float) -> str:
    """Returns a share in percent: 0.0349 -> "3.5%"."""
    return f"{100 * share:.1f}%"


def rounded_percent(share: float) -> str:
    """Returns a share in whole percent: 0.349 -> "35%"."""
    return f"{100 * share:.0f}%"


def short_percent(share: float) -> str:
    """Returns a share that somebody chose in percent: 0.05 -> "5%"."""
    return f"{100 * share:.4g}%"


def seconds(duration: float) -> str:
    """Returns a duration in seconds, minutes or hours: 0.0213 -> "0.02 s", 312.4 -> "5.2 min"."""
    if duration < 1:
        return f"{duration:.2f} s"
    if duration < 100:
        return f"{duration:.1f} s"
    return f"{duration / 60:.1f} min" if duration < 6000 else f"{duration / 3600:.1f} h"


def seconds_between(low: float, high: float) -> str:
    """Returns a range of durations, whose unit is written once where both have it: (4.31, 5.62) -> "4.3-5.6 s"."""
    (start, unit), (end, other) = seconds(low).split(), seconds(high).split()
    return f"{start}-{end} {unit}" if unit == other else f"{start} {unit} - {end} {other}"


def total_usd(dollars: float) -> str:
    """Returns the price of a run in US dollars: whole dollars where there are ten, and cents below."""
    return f"{dollars:,.0f}" if dollars >= _WHOLE_DOLLARS else usd(dollars)


def plural(number: int, noun: str) -> str:
    """Returns a number with its noun: (1, "GPU") -> "1 GPU", (2, "GPU") -> "2 GPUs"."""
    return f"{grouped(number)} {noun}" if number == 1 else f"{grouped(number)} {noun}s"
