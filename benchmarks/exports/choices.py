"""Exports every choice of every technique to each target, and prints which it refuses, and why.

    python benchmarks/exports/choices.py axolotl trl     # these targets; all unless given

Each choice is planned with several things beside it. What a target refuses beside all of them, it has no word for; more
than that it refuses only in combination, which plans.py counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from typing import Any

from planner import ExportError, PlannerError, estimate, export
from planner.exporting.targets.registry import TARGETS
from planner.records.result import EstimateResult
from strategies import OPTIONS, Framework, Names, Option, Shares, WholeNumbers

BESIDE: tuple[Mapping[str, Any], ...] = (
    {},
    {"gpus": 8},
    {"gpus": 8, "sharding_backend": "deepspeed"},
    {"gpus": 8, "sharding_backend": "fsdp1"},
    {"precision": "bf16-true", "finetuning": "full"},
    {"finetuning": "qlora"},
    {"finetuning": "full"},
    {"gpu": "H100"},
    {"precision": "fp16-mixed"},
    {"precision": "fp16-true", "finetuning": "qlora"},
)
"""What a choice may need beside it."""
REQUESTS: Mapping[str, tuple[Any, ...]] = {"batching": ("full", "padded", "packed"), "evaluation_batch_size": (2,)}
"""Choices of a request that are no technique."""


def choices() -> Iterator[tuple[str, Any, list[Mapping[str, Any]]]]:
    """Yields every option with each of its values, and what it belongs to."""
    for name, option in OPTIONS.items():
        if name != "framework":
            for value in _values(option):
                owners = [{_axis(owner): str(owner)} for owner in reversed(option.belongs_to)]
                yield name, value, [*owners, {}]
    for name, values in REQUESTS.items():
        yield from ((name, value, [{}]) for value in values)


def _values(option: Option) -> list[Any]:
    kind = option.kind
    if isinstance(kind, WholeNumbers | Shares):
        return [kind.usual]
    if isinstance(kind, Names):
        return [kind.keyword, kind.example.split(",")]
    return [str(member) for member in kind]


def _axis(owner: StrEnum) -> str:
    return next(name for name, option in OPTIONS.items() if option.kind is type(owner))


def plans(target: str, name: str, value: Any, owners: list[Mapping[str, Any]]) -> Iterator[EstimateResult]:
    """Yields plans with a choice; none for a choice that a framework has not."""
    framework = target if target in list(map(str, Framework)) else "transformers"
    for owner in owners:
        for beside in BESIDE:
            options = {"gpu": "A100-40GB", **beside, **owner, "framework": framework, name: value}
            with suppress(PlannerError):
                yield estimate("llama-7b", **options)


def refusal(target: str, plans: Iterator[EstimateResult]) -> str | None:
    """Returns why a target cannot say the first of some plans, if it can say none of them; empty if there is none."""
    found: list[str] = []
    for plan in plans:
        try:
            export(plan, target)
        except ExportError as error:
            found.append(error.message)
        else:
            return None
    return found[0] if found else ""


def main(targets: list[str]) -> None:
    """Prints what each target refuses."""
    for target in targets:
        said = asked = 0
        print(target)
        for name, value, owners in choices():
            refused = refusal(target, plans(target, name, value, owners))
            if refused == "":
                continue
            asked += 1
            said += refused is None
            if refused:
                print(f"  {name.replace('_', '-')} {value}: {refused}", flush=True)
        print(f"  {said} of {asked} choices", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:] or [*TARGETS])
