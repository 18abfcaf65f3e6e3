"""Comparison of whole outputs with stored text."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

UPDATE_VARIABLE = "UPDATE_SNAPSHOTS"


@pytest.fixture
def matches_snapshot() -> Callable[[str, str], None]:
    def compare(name: str, text: str) -> None:
        path = Path(__file__).parent / "snapshots" / f"{name}.txt"
        if os.environ.get(UPDATE_VARIABLE):
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{UPDATE_VARIABLE}=1 stores the new text"

    return compare
