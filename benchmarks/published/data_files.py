"""Reads the files in which the published runs are written down."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

DATA: Final = Path(__file__).with_name("data")


def csv_rows(name: str) -> list[dict[str, str]]:
    """Returns the rows of a CSV file, whose comments are lines that begin with `#`."""
    lines = (line for line in (DATA / name).read_text().splitlines() if not line.startswith("#"))
    return list(csv.DictReader(lines))
