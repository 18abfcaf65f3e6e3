"""Names several answers by what tells them apart."""

from __future__ import annotations

from collections.abc import Sequence

from planner.records.plan import Plan
from planner.records.result import EstimateResult, FitResult
from planner.report.parts import words


def names_of(answers: Sequence[FitResult | EstimateResult]) -> list[str]:
    """Returns a name of each answer: those of model, machine, length, method and more in which the answers differ."""
    requests, plans = [answer.request for answer in answers], list(map(_first, answers))
    said = [
        [request.model for request in requests],
        [request.where for request in requests],
        [f"{request.sequence_length:,} tokens" for request in requests],
        [words.method(plan.strategy) if plan is not None else "nothing" for plan in plans],
        [words.axis(plan.strategy, "precision") if plan is not None else "" for plan in plans],
        [f"checkpointing {plan.strategy.checkpointing}" if plan is not None else "" for plan in plans],
    ]
    names = [""] * len(answers)
    for texts in said:
        if len(set(texts)) > 1 and len(set(names)) < len(names):
            names = [f"{name}, {text}".removeprefix(", ") for name, text in zip(names, texts, strict=True)]
    names = [name or answer.request.model for name, answer in zip(names, answers, strict=True)]
    return [name if names.count(name) == 1 else f"{name} ({i})" for i, name in enumerate(names, start=1)]


def _first(answer: FitResult | EstimateResult) -> Plan | None:
    if isinstance(answer, EstimateResult):
        return answer
    return answer.recommended if answer.plans else None
