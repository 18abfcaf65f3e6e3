"""Answers that were written by earlier versions stay readable, and mean the same.

`kept_answers` holds what the commands printed on the day in their names; a new file joins when `schema_version` rises.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from planner import EstimateResult, FitResult, Verification, estimate
from planner.records.plan_file import arguments_of

FOLDER = Path(__file__).parent / "kept_answers"
KINDS: dict[str, type[BaseModel]] = {"fit": FitResult, "estimate": EstimateResult, "verify": Verification}
FILES = sorted(FOLDER.glob("*.json"))


def holds(new: Any, old: Any) -> bool:
    """Whether a document says all that an older one says; later versions add fields."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(key in new and holds(new[key], value) for key, value in old.items())
    if isinstance(old, list):
        return isinstance(new, list) and len(new) == len(old) and all(map(holds, new, old))
    return bool(new == old)


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.stem))
def test_a_kept_answer_is_read_and_written_as_it_was(file: Path) -> None:
    text = file.read_text()
    answer = KINDS[file.stem.partition("_")[0]].model_validate_json(text)
    assert holds(json.loads(answer.model_dump_json()), json.loads(text))


@pytest.mark.parametrize(
    "file", [file for file in FILES if not file.stem.startswith("verify")], ids=lambda f: str(f.stem)
)
def test_a_kept_plan_is_planned_again_to_the_same_bytes(file: Path) -> None:
    kind = KINDS[file.stem.partition("_")[0]]
    answer = kind.model_validate_json(file.read_text())
    plans = answer.plans if isinstance(answer, FitResult) else (answer,)
    for number, plan in enumerate(plans, 1):
        again = estimate(**arguments_of(str(file), number))
        assert again.strategy.strategy() == plan.strategy.strategy()  # type: ignore[union-attr]  # each is a plan
        kept = plan.memory.model_dump(exclude_unset=True)  # type: ignore[union-attr]  # each is a plan
        assert holds(again.memory.model_dump(), kept)
