from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardware import GIB
from planner.report.parts.format import (
    count,
    gib,
    gib_difference,
    gib_parts,
    grouped,
    percent,
    plural,
    seconds,
    short_percent,
    total_usd,
)

BYTES = st.integers(0, 2**45)


@given(parts=st.lists(BYTES, max_size=9), decimals=st.integers(0, 2))
def test_written_parts_add_up_to_the_written_total(parts: list[int], decimals: int) -> None:
    written = [float(part.replace(",", "")) for part in gib_parts(parts, decimals)]
    assert round(sum(written), decimals) == pytest.approx(round(sum(parts) / GIB, decimals))


@given(parts=st.lists(BYTES, max_size=9))
def test_a_written_part_is_off_by_less_than_its_last_digit(parts: list[int]) -> None:
    for part, text in zip(parts, gib_parts(parts), strict=True):
        assert abs(part / GIB - float(text.replace(",", ""))) < 0.1 + 1e-9


@given(larger=BYTES, smaller=BYTES)
def test_a_written_difference_is_what_a_reader_subtracts(larger: int, smaller: int) -> None:
    read = [float(gib(number).replace(",", "")) for number in (larger, smaller)]
    assert float(gib_difference(larger, smaller).replace(",", "")) == pytest.approx(read[0] - read[1], abs=1e-6)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 k"),
        (124_439_808, "124 M"),
        (999_499_999, "999 M"),
        (999_500_000, "1.00 B"),
        (1_235_814_400, "1.24 B"),
        (6_738_415_616, "6.74 B"),
        (9_999_999_999, "10.0 B"),
        (68_976_648_192, "69.0 B"),
        (1_800_000_000_000, "1.80 T"),
    ],
)
def test_a_count_has_three_digits_and_a_unit(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (gib(37_580_963_840), "35.0"),
        (gib(2**44), "16,384.0"),
        (grouped(12345.6), "12,346"),
        (percent(0.0349), "3.5%"),
        (short_percent(0.05), "5%"),
        (short_percent(0.125), "12.5%"),
        (seconds(0.0213), "0.02 s"),
        (seconds(22.34), "22.3 s"),
        (seconds(312.4), "5.2 min"),
        (seconds(9000), "2.5 h"),
        (total_usd(2_200.24), "2,200"),
        (total_usd(9.995), "9.99"),
        (total_usd(10.0), "10"),
        (plural(1, "GPU"), "1 GPU"),
        (plural(1200, "token"), "1,200 tokens"),
    ],
)
def test_numbers_are_written_for_reading(written: str, text: str) -> None:
    assert written == text
